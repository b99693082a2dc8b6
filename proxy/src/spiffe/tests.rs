//! From a Workload API to a server and back: who is taken, who is told what, and what stays when something is lost.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use ravelin_config::dynamic::{ServersTransport, Spiffe};
use ravelin_transport::backoff::BackoffOptions;
use rcgen::{BasicConstraints, IsCa};
use tokio::io::AsyncReadExt;

use super::identity::IdentityError;
use super::*;
use crate::error::RequestError;
use crate::upstream::connect::{Connected, connect};
use crate::upstream::{ServerUrl, Transport, UpstreamRegistry};

mod rig;

use rig::{Agent, Authority, Says, field, framed, message, server, socket};

const OURS: &str = "spiffe://a.test/proxy";
const WEB: &str = "spiffe://a.test/web";

fn on_worker(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test());
}

fn times() -> Times {
    let again = Duration::from_millis(5);
    Times {
        first_message: Duration::from_secs(30),
        again: BackoffOptions { first: again, max: again, stable_after: Duration::from_secs(30) },
    }
}

fn follow(path: &Path, times: Times) -> Arc<Source> {
    let address = WorkloadAddress::Unix(path.to_owned());
    Sources::default().with_times(&address, times).expect("a thread")
}

/// Waits until the source knows this.
async fn until(source: &Source, is: impl Fn(&Known) -> bool) {
    source.known.clone().wait_for(|known| is(known)).await.expect("it is followed");
}

fn is_ours(known: &Known, id: &str) -> bool {
    matches!(known, Known::Identity(identity) if identity.id.to_string() == id)
}

/// Whom the server on this port sees, or why it is not asked: the answer to the request, and the cause.
async fn seen(source: &Arc<Source>, option: &Spiffe, port: u16) -> Result<String, String> {
    let config = ServersTransport { spiffe: Some(option.clone()), ..ServersTransport::default() };
    let transport = Arc::new(Transport::compile(&config, Some(source)).expect("good options"));
    let url: ServerUrl = format!("https://127.0.0.1:{port}").parse().expect("a URL");
    let (upstream, _in_use) = UpstreamRegistry::default().upstream(&url, &transport).expect("a server");
    let told = |error: RequestError| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{} {cause}", error.into_response().status().as_u16())
    };
    let Connected::Http1(mut io) = connect(&upstream, true).await.map_err(told)? else {
        panic!("HTTP/2 was not offered");
    };
    let mut text = String::new();
    io.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    Ok(text)
}

fn anyone() -> Spiffe {
    Spiffe::default()
}

fn ids(ids: &[&str]) -> Spiffe {
    Spiffe { ids: ids.iter().map(ToString::to_string).collect(), ..anyone() }
}

fn domain(name: &str) -> Spiffe {
    Spiffe { trust_domain: name.to_owned(), ..anyone() }
}

#[test]
fn a_server_is_taken_by_its_spiffe_id_and_the_authority_of_its_domain_and_sees_who_we_are() {
    on_worker(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b, c) = (Authority::new("a.test"), Authority::new("b.test"), Authority::new("c.test"));
        let told = message(OURS, &a.sign(&[OURS]), &a, &[&b]);
        let _agent = Agent::start(&socket(&folder), Says::Bytes(framed(&told)));
        let source = follow(&socket(&folder), times());
        let other = "spiffe://b.test/web";
        let web = server(&a.sign(&[WEB]), &a).await;
        let federated = server(&b.sign(&[other]), &a).await;
        let stranger = server(&c.sign(&["spiffe://c.test/web"]), &a).await;
        let false_domain = server(&b.sign(&[WEB]), &a).await;
        let two = server(&a.sign(&[WEB, OURS]), &a).await;
        let nameless = server(&a.sign(&[]), &a).await;
        let authority = server(&a.signed(&[WEB], IsCa::Ca(BasicConstraints::Unconstrained)), &a).await;
        for (option, port, refused) in [
            (anyone(), web, None),
            (ids(&["spiffe://a.test/x", WEB]), web, None),
            // As in Traefik, IDs count alone where there are some.
            (Spiffe { trust_domain: "b.test".to_owned(), ..ids(&[WEB]) }, web, None),
            (domain("a.test"), web, None),
            (anyone(), federated, None),
            (domain("b.test"), federated, None),
            (
                ids(&["spiffe://a.test/x"]),
                web,
                Some("spiffe://a.test/web, which is none of those that `spiffe` allows"),
            ),
            (domain("b.test"), web, Some("which is none of those")),
            (domain("a.test"), federated, Some("spiffe://b.test/web, which is none of those")),
            (anyone(), stranger, Some("gives no authority of its trust domain: federate with it there")),
            (anyone(), false_domain, Some("which no authority of its trust domain confirms")),
            (anyone(), two, Some("it has 2 URIs in place of the one that is its SPIFFE ID")),
            (anyone(), nameless, Some("it has 0 URIs")),
            (anyone(), authority, Some("it is that of an authority")),
        ] {
            let got = seen(&source, &option, port).await;
            match refused {
                None => assert_eq!(got.as_deref(), Ok(OURS), "{option:?}"),
                Some(reason) => {
                    let told = got.expect_err(reason);
                    assert!(told.starts_with("502 ") && told.contains(reason), "{option:?}: {told}");
                }
            }
        }
    });
}

#[test]
fn what_the_workload_api_changes_counts_from_the_next_handshake_on() {
    on_worker(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, renewed) = (Authority::new("a.test"), Authority::new("a.test"));
        let (web, second) =
            (server(&a.sign(&[WEB]), &a).await, server(&renewed.sign(&[WEB]), &renewed).await);
        let agent =
            Agent::start(&socket(&folder), Says::Bytes(framed(&message(OURS, &a.sign(&[OURS]), &a, &[]))));
        let source = follow(&socket(&folder), times());
        assert_eq!(seen(&source, &anyone(), web).await.as_deref(), Ok(OURS));
        assert!(seen(&source, &anyone(), second).await.is_err());
        let next = "spiffe://a.test/proxy/next";
        agent.say(&message(next, &renewed.sign(&[next]), &renewed, &[]));
        until(&source, |known| is_ours(known, next)).await;
        assert_eq!(seen(&source, &anyone(), second).await.as_deref(), Ok(next));
        let told = seen(&source, &anyone(), web).await.expect_err("its authority is gone");
        assert!(told.contains("which no authority of its trust domain confirms"), "{told}");
    });
}

#[test]
fn a_workload_api_that_is_lost_or_talks_nonsense_takes_nothing_away_and_is_found_again() {
    on_worker(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let a = Authority::new("a.test");
        let web = server(&a.sign(&[WEB]), &a).await;
        let agent =
            Agent::start(&socket(&folder), Says::Bytes(framed(&message(OURS, &a.sign(&[OURS]), &a, &[]))));
        let source = follow(&socket(&folder), times());
        assert_eq!(seen(&source, &anyone(), web).await.as_deref(), Ok(OURS));
        drop(agent);
        assert_eq!(seen(&source, &anyone(), web).await.as_deref(), Ok(OURS));
        let agent = Agent::start(&socket(&folder), Says::Bytes(framed(b"\x0a\x05x")));
        let nonsense: [Vec<u8>; 4] =
            [framed(b"\xff"), framed(&[]), vec![1; 5], vec![0, 0xff, 0xff, 0xff, 0xff]];
        for bytes in nonsense {
            agent.says.send_replace(Says::Bytes(bytes));
            assert_eq!(seen(&source, &anyone(), web).await.as_deref(), Ok(OURS));
        }
        let next = "spiffe://a.test/proxy/next";
        agent.say(&message(next, &a.sign(&[next]), &a, &[]));
        until(&source, |known| is_ours(known, next)).await;
        assert_eq!(seen(&source, &anyone(), web).await.as_deref(), Ok(next));
    });
}

#[test]
fn who_comes_before_the_first_identity_waits_for_it_and_is_told_why_where_there_is_none() {
    on_worker(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let a = Authority::new("a.test");
        let web = server(&a.sign(&[WEB]), &a).await;
        let good = message(OURS, &a.sign(&[OURS]), &a, &[]);
        let agent = Agent::start(&socket(&folder), Says::Nothing);
        let source = follow(&socket(&folder), times());
        let option = anyone();
        let early = seen(&source, &option, web);
        tokio::pin!(early);
        tokio::select! {
            biased;
            told = &mut early => panic!("nothing was given yet: {told:?}"),
            () = std::future::ready(()) => {}
        }
        agent.say(&good);
        assert_eq!(early.await.as_deref(), Ok(OURS));
        drop(agent);

        for (says, reason) in [
            (
                Says::Refuses,
                "it refuses this process an identity (no identity issued): register this workload there",
            ),
            (Says::Bytes(framed(b"\x0a")), "its message cannot be read: it breaks off"),
            (Says::Bytes(framed(&[])), "its message holds no identity"),
            (Says::Bytes(vec![1, 0, 0, 0, 0]), "it sent a compressed message"),
            (Says::Bytes(vec![0, 1, 0, 0, 0]), "it sent a message of 16777216 bytes"),
        ] {
            let agent = Agent::start(&socket(&folder), says);
            let source = follow(&socket(&folder), times());
            let told = seen(&source, &anyone(), web).await.expect_err(reason);
            assert!(told.starts_with("502 no identity came yet from the Workload API unix://"), "{told}");
            assert!(told.contains(reason), "{told}");
            agent.say(&good);
            until(&source, |known| is_ours(known, OURS)).await;
            assert_eq!(seen(&source, &anyone(), web).await.as_deref(), Ok(OURS), "{reason}");
        }
        let source = follow(&folder.path().join("nobody"), times());
        let told = seen(&source, &anyone(), web).await.expect_err("nobody listens");
        assert!(told.contains("see that it runs and that `spiffe.workloadAPIAddr` is its address"), "{told}");
    });
}

#[test]
fn a_workload_api_that_sends_nothing_is_given_up_in_time() {
    on_worker(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let _agent = Agent::start(&socket(&folder), Says::Nothing);
        let times = Times { first_message: Duration::from_millis(50), ..times() };
        let told = follow(&socket(&folder), times).ready().await.expect_err("it says nothing").to_string();
        assert!(told.ends_with("it sent nothing for 0.05 s"), "{told}");
    });
}

#[test]
fn one_address_is_followed_once_and_no_longer_than_it_is_needed() {
    let sources = Sources::none();
    let (one, two) = (WorkloadAddress::Unix("/one".into()), WorkloadAddress::Unix("/two".into()));
    let first = sources.at(&one).expect("no thread");
    assert!(Arc::ptr_eq(&first, &sources.at(&one).expect("no thread")));
    assert!(!Arc::ptr_eq(&first, &sources.at(&two).expect("no thread")));
    let gone = Arc::downgrade(&first);
    drop(first);
    assert!(gone.upgrade().is_none());

    let (told, known) = watch::channel(Known::Nothing);
    let thread = client::start(one, told, times(), Failures::default()).expect("a thread");
    drop(known);
    thread.join().expect("it ends as nobody listens any more");
}

#[test]
fn what_a_message_lacks_is_named_and_nothing_of_it_is_taken() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let (a, b) = (Authority::new("a.test"), Authority::new("b.test"));
    let (own, another) = (a.sign(&[OURS]), a.sign(&[OURS]));
    let read = |message: &[u8]| Identity::read(message, &provider).map(|identity| identity.id.to_string());
    let why = |message: &[u8]| read(message).expect_err("no identity").to_string();
    let good = message(OURS, &own, &a, &[&b]);
    assert_eq!(read(&good).as_deref(), Ok(OURS));
    assert_eq!(read(&[]), Err(IdentityError::None));
    assert!(
        why(&message(WEB, &own, &a, &[]))
            .contains("it is that of spiffe://a.test/proxy, not of \"spiffe://a.test/web\"")
    );
    let keyless = rig::Workload { chain: own.chain.clone(), key: another.key };
    assert!(why(&message(OURS, &keyless, &a, &[])).starts_with("the private key cannot be used: "));
    let chainless = rig::Workload { chain: Vec::new(), key: own.key.clone() };
    assert_eq!(
        why(&message(OURS, &chainless, &a, &[])),
        "the chain of certificates cannot be used: it is empty"
    );
    let behind = rig::Workload { chain: [own.chain.as_slice(), b"x"].concat(), key: own.key.clone() };
    assert!(why(&message(OURS, &behind, &a, &[])).ends_with("what stands behind 1 certificates is none"));
    let bundle = field(3, &[field(1, b"b.test"), field(2, b"x")].concat());
    assert_eq!(
        why(&[good.as_slice(), &bundle].concat()),
        "the bundle of \"b.test\" cannot be used: what stands behind 0 certificates is none"
    );
    let identity = Identity::read(&good, &provider).expect("good");
    assert!(!format!("{identity:?}").contains("PRIVATE") && !format!("{identity:?}").contains("key"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_message_that_is_changed_anywhere_never_panics(
        at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<proptest::sample::Index>(),
    ) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let a = Authority::new("a.test");
            message(OURS, &a.sign(&[OURS]), &a, &[&Authority::new("b.test")])
        });
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut bytes = GOOD.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // Either is told in words.
        drop(Identity::read(&bytes, &provider).map_err(|error| error.to_string()));
        let end = cut.index(bytes.len());
        drop(Identity::read(&bytes[..end], &provider).map_err(|error| error.to_string()));
    }
}
