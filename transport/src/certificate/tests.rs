//! Which certificates are believed, and what the others are told.

use super::*;
use crate::identity::{ClusterPlan, Identity, NewCluster, init};
use std::time::SystemTime;

const DAY: Duration = Duration::from_secs(86_400);

fn cluster() -> NewCluster {
    let addresses = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
    init(&ClusterPlan::new(addresses.map(str::to_owned).to_vec(), 1)).expect("a plan that makes sense")
}

fn identity(new: &NewCluster, role: PeerRole, node: u64) -> Identity {
    new.identities
        .iter()
        .find(|identity| identity.role() == role && identity.node() == node)
        .expect("the plan has it")
        .clone()
}

fn judge(here: &Identity, peer: &Identity) -> Result<Verified, Refusal> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let trust = Trust::of(here).expect("an authority just made");
    let verdict = |usage| trust.verify(peer.certificate(), &[], UnixTime::now(), usage, algorithms);
    assert_eq!(verdict(Usage::Client), verdict(Usage::Server), "certificates serve both ways");
    verdict(Usage::Client)
}

#[test]
fn members_of_the_cluster_are_believed() {
    let new = cluster();
    for here in &new.identities {
        for peer in &new.identities {
            let verified = judge(here, peer).expect("same cluster");
            assert_eq!(&verified.peer, peer.peer());
            assert!(!verified.standing.is_expired(UnixTime::now()));
        }
    }
}

#[test]
fn a_foreign_cluster_is_named() {
    let (ours, theirs) = (cluster(), cluster());
    let refusal = judge(&ours.identities[0], &theirs.identities[0]).expect_err("a foreign certificate");
    assert_eq!(refusal, Refusal::WrongCluster { expected: ours.cluster, claimed: Some(theirs.cluster) });
}

#[test]
fn dates_refuse_all_but_controllers_among_themselves() {
    let new = cluster();
    let past = SystemTime::now() - 800 * DAY;
    let future = SystemTime::now() + 10 * DAY;
    for (role, peer_role) in [
        (PeerRole::Controller, PeerRole::Controller),
        (PeerRole::Controller, PeerRole::Proxy),
        (PeerRole::Proxy, PeerRole::Controller),
        (PeerRole::Operator, PeerRole::Controller),
        (PeerRole::Controller, PeerRole::Operator),
    ] {
        let here = identity(&new, role, 1);
        let peer = identity(&new, peer_role, 1);
        for (issued_at, refusal) in [(past, Refusal::Expired), (future, Refusal::NotYetValid)] {
            let peer = new.authority.renew(&peer, issued_at, DAY).expect("its own identity");
            let wanted = match (role, peer_role) {
                (PeerRole::Controller, PeerRole::Controller) => Ok((peer.peer().clone(), Standing::Pinned)),
                _ => Err(refusal),
            };
            let judged = judge(&here, &peer).map(|verified| (verified.peer, verified.standing));
            assert_eq!(judged, wanted, "{role} judges {peer_role}");
        }
    }
}

fn record(trust: &Trust, keys: &[(u64, [u8; 32])]) {
    let keys = keys.iter().copied().collect();
    trust.members().record(crate::Roster { keys, strangers: true, ..crate::Roster::default() });
}

#[test]
fn the_recorded_key_decides_between_controllers_and_dates_only_without_one() {
    let new = cluster();
    let past = SystemTime::now() - 800 * DAY;
    let valid = identity(&new, PeerRole::Controller, 2);
    let expired = new.authority.renew(&valid, past, DAY).expect("own identity");
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let trust = Trust::of(&new.identities[0]).expect("an authority just made");
    let verdict = |peer: &Identity| {
        let judged = trust.verify(peer.certificate(), &[], UnixTime::now(), Usage::Client, algorithms);
        judged.map(|verified| verified.standing)
    };
    assert!(matches!(verdict(&valid), Ok(Standing::Full { .. })));
    assert_eq!(verdict(&expired), Ok(Standing::Pinned));
    let own = trust.members().key_of(2).expect("it is listed");
    record(&trust, &[(2, [7; 32]), (3, own)]);
    assert_eq!(verdict(&valid), Err(Refusal::WrongKey { node: 2 }), "signed, and not who is recorded");
    assert_eq!(verdict(&expired), Err(Refusal::WrongKey { node: 2 }));
    record(&trust, &[(3, own)]);
    assert!(matches!(verdict(&valid), Ok(Standing::Full { .. })), "one that came while this one was away");
    assert_eq!(verdict(&expired), Err(Refusal::Expired), "a key recorded for another node is no proof");
}

#[test]
fn an_old_list_of_keys_keeps_no_proxy_from_a_control_node_that_the_authority_signed() {
    let new = cluster();
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let trust = Trust::of(&identity(&new, PeerRole::Proxy, 1)).expect("an authority just made");
    record(&trust, &[(2, [7; 32])]);
    let peer = identity(&new, PeerRole::Controller, 2);
    let judged = trust.verify(peer.certificate(), &[], UnixTime::now(), Usage::Server, algorithms);
    assert!(judged.is_ok(), "{judged:?}");
}

#[test]
fn an_expired_certificate_of_a_foreign_cluster_is_foreign() {
    let (ours, theirs) = (cluster(), cluster());
    let past = SystemTime::now() - 800 * DAY;
    let expired =
        theirs.authority.renew(&identity(&theirs, PeerRole::Controller, 2), past, DAY).expect("own identity");
    let refusal = judge(&ours.identities[0], &expired).expect_err("a foreign certificate");
    assert_eq!(refusal.kind(), crate::RefusalKind::WrongCluster);
}

#[test]
fn a_certificate_that_runs_out_later_says_when() {
    let new = cluster();
    let here = identity(&new, PeerRole::Controller, 1);
    let soon = new
        .authority
        .renew(&identity(&new, PeerRole::Proxy, 1), SystemTime::now(), DAY)
        .expect("own identity");
    let verified = judge(&here, &soon).expect("valid for a day");
    let at = |days: u64| {
        UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + DAY * days as u32)
    };
    assert!(!verified.standing.is_expired(at(0)));
    assert!(verified.standing.is_expired(at(2)));
}

#[test]
fn garbage_is_refused_in_words() {
    let new = cluster();
    let trust = Trust::of(&new.identities[0]).expect("an authority just made");
    for bytes in [vec![], vec![0x30, 0x82], new.identities[1].certificate()[..100].to_vec()] {
        let verdict = trust.verify(&CertificateDer::from(bytes), &[], UnixTime::now(), Usage::Client, &[]);
        assert!(matches!(verdict, Err(Refusal::Certificate { .. })), "{verdict:?}");
    }
}
