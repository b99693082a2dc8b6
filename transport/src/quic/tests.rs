//! What is particular to QUIC: dates, hostile peers, ports, and what crosses the wire.

use super::*;
use crate::conformance::{identity_of, loopback, small_cluster};
use crate::error::{LaneRefusal, RefusalKind, Side};
use crate::identity::NewCluster;
use crate::peer::PeerRole::{self, Controller, Operator, Proxy};
use crate::seam::Expected;
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use std::future::Future;
use std::time::SystemTime;

mod crowd;

const DAY: Duration = Duration::from_secs(86_400);

fn start(identity: &Identity) -> QuicTransport {
    QuicTransport::bind(identity, loopback(), QuicOptions::default()).expect("a free port")
}

fn member(cluster: &NewCluster, role: PeerRole, node: u64) -> QuicTransport {
    start(identity_of(cluster, role, node))
}

/// A member whose certificate ran out two years ago.
fn expired_member(cluster: &NewCluster, role: PeerRole, node: u64) -> QuicTransport {
    let identity = identity_of(cluster, role, node);
    let expired = cluster.authority.renew(identity, SystemTime::now() - 730 * DAY, DAY);
    start(&expired.expect("its own identity"))
}

fn target(of: &QuicTransport, role: PeerRole) -> Target {
    Target { address: of.local_address.to_string(), expect: Expected { role, node: None } }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

async fn connected(
    dialler: &QuicTransport,
    acceptor: &QuicTransport,
    role: PeerRole,
) -> (QuicConnection, Arc<dyn Connection>) {
    let target = target(acceptor, role);
    let both = async { tokio::join!(dialler.dial(&target), acceptor.accept()) };
    let (dialled, accepted) = within("connecting", both).await;
    (dialled.expect("the peer is there"), accepted.expect("the peer dials"))
}

/// What the two sides say of a connection that must not come about: the dialling side first.
async fn both_errors(
    dialler: &QuicTransport,
    acceptor: &QuicTransport,
    role: PeerRole,
) -> (TransportError, TransportError) {
    let target = target(acceptor, role);
    let both = async { tokio::join!(dialler.dial(&target), acceptor.accept()) };
    let (dialled, accepted) = within("refusing", both).await;
    let dialled = dialled.err().expect("the connection must not come about");
    let accepted = accepted.expect_err("the connection must not come about");
    assert!(!accepted.ends_transport());
    (dialled, accepted)
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let cluster = small_cluster();
    let first = member(&cluster, Controller, 1);
    let address = first.local_address;
    let second = QuicTransport::bind(identity_of(&cluster, Controller, 2), address, QuicOptions::default());
    let error = second.err().expect("the port is taken");
    assert!(matches!(error, TransportError::AddressInUse { address: taken } if taken == address), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_port_is_free_again_after_a_shutdown() {
    let cluster = small_cluster();
    let first = member(&cluster, Controller, 1);
    let address = first.local_address;
    let other = member(&cluster, Controller, 2);
    let (dialled, accepted) = connected(&other, &first, Controller).await;
    drop(accepted);
    within("shutting down", first.shutdown()).await;
    let again = QuicTransport::bind(identity_of(&cluster, Controller, 1), address, QuicOptions::default());
    let again = again.expect("the port is free, though the transport still lives");
    within("closing", dialled.closed()).await;
    connected(&other, &again, Controller).await;
}

#[tokio::test]
async fn a_transport_that_only_dials_reaches_its_peers() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let operator = QuicTransport::dial_only(identity_of(&cluster, Operator, 1), QuicOptions::default());
    let operator = operator.expect("a free port");
    let (dialled, accepted) = connected(&operator, &controller, Controller).await;
    assert_eq!(accepted.peer().role(), Operator);
    let (opened, taken) = tokio::join!(dialled.open(Lane::Forward), accepted.accept());
    assert_eq!(taken.expect("the lane is permitted").0, Lane::Forward);
    opened.expect("the lane is permitted");
}

/// As a command does it: one process after the other, each of which ends as soon as it has its answer.
#[tokio::test]
async fn whoever_only_dials_has_told_its_peers_once_it_is_shut_down_though_its_runtime_ends_at_once() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let target = target(&controller, Controller);
    for _ in 0..32 {
        let (identity, target) = (identity_of(&cluster, Operator, 1).clone(), target.clone());
        let process = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("threads").block_on(async {
                let operator = QuicTransport::dial_only(&identity, QuicOptions::default());
                let operator = operator.expect("a free port");
                let connection = within("connecting", operator.dial(&target)).await.expect("it listens");
                // Held to the end: its place at the other end does not depend on who holds it here.
                within("shutting down", operator.shutdown()).await;
                drop(connection);
            });
        });
        let accepted = within("accepting", controller.accept()).await.expect("the peer dials");
        within("ending", process).await.expect("it does not panic");
        let ended = within("the farewell", accepted.closed()).await;
        assert!(matches!(ended, TransportError::Closed { by: Side::Peer, .. }), "{ended}");
    }
}

#[tokio::test]
async fn names_are_resolved_and_unknown_ones_named() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let proxy = member(&cluster, Proxy, 1);
    let mut target = target(&controller, Controller);
    target.address = format!("localhost:{}", controller.local_address.port());
    within("connecting", proxy.dial(&target)).await.expect("localhost is this host");
    target.address = "no port".to_owned();
    let error = within("failing", proxy.dial(&target)).await.err().expect("not an address");
    assert!(matches!(&error, TransportError::Resolve { address, .. } if address == "no port"), "{error}");
}

#[tokio::test]
async fn expired_controllers_still_speak_raft_and_nothing_that_needs_dates() {
    let cluster = small_cluster();
    let valid = member(&cluster, Controller, 1);
    let expired = expired_member(&cluster, Controller, 2);
    let other_expired = expired_member(&cluster, Controller, 3);
    for (dialler, acceptor) in [(&valid, &expired), (&expired, &valid), (&expired, &other_expired)] {
        let (dialled, accepted) = connected(dialler, acceptor, Controller).await;
        for lane in [Lane::Raft, Lane::Snapshot, Lane::Forward] {
            let (opened, taken) = tokio::join!(dialled.open(lane), accepted.accept());
            let (mut sender, _answers) = opened.expect("the lane survives expiry");
            let (_, _back, mut receiver) = taken.expect("the lane survives expiry");
            sender.send(Bytes::from_static(b"vote")).await.expect("the lane is open");
            let frame = within("receiving", receiver.receive()).await.expect("the lane is open");
            assert_eq!(frame.as_deref(), Some(b"vote".as_slice()));
        }
        let (opened, taken) = within("refusing", async {
            tokio::join!(
                dialled.greet(Lane::Join, [Lane::Join.code(), wire::LANE_VERSION]),
                accepted.accept()
            )
        })
        .await;
        let (answer, ..) = opened.expect("an answer");
        if std::ptr::eq(dialler, &valid) {
            assert_eq!(answer, wire::Answer::Accepted.code(), "only the expired side knows nothing of it");
        } else {
            assert_eq!(answer, wire::Answer::Expired.code());
            let refusal = LaneRefusal::Expired { lane: Lane::Join };
            let error = taken.expect_err("refused");
            assert!(
                matches!(error, TransportError::LaneRefused { by: Side::Here, refusal: r } if r == refusal),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_lane_closed_by_dates_is_an_error_on_both_sides() {
    let cluster = small_cluster();
    let valid = member(&cluster, Controller, 1);
    let expired = expired_member(&cluster, Controller, 2);
    let expired_lane = |error: &TransportError, wanted: Side| matches!(error, TransportError::LaneRefused { by, refusal: LaneRefusal::Expired { lane: Lane::Join } } if *by == wanted);
    let (dialled, accepted) = connected(&expired, &valid, Controller).await;
    let both = async { tokio::join!(dialled.open(Lane::Join), accepted.accept()) };
    let (opened, taken) = within("refusing", both).await;
    let error = opened.expect_err("the peer refuses");
    assert!(expired_lane(&error, Side::Peer), "{error}");
    let error = taken.expect_err("this side refuses");
    assert!(expired_lane(&error, Side::Here), "{error}");
    let error =
        within("refusing", accepted.open(Lane::Join)).await.expect_err("the peer is known to be expired");
    assert!(expired_lane(&error, Side::Here), "{error}");
    assert!(error.to_string().contains("only raft, snapshot and forward stay open"), "{error}");
}

#[tokio::test]
async fn expiry_refuses_every_other_role_on_both_sides() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    for (role, node) in [(Proxy, 1), (Operator, 1)] {
        let expired = expired_member(&cluster, role, node);
        let (dialled, accepted) = both_errors(&expired, &controller, Controller).await;
        assert!(
            matches!(dialled, TransportError::RefusedByPeer { kind: RefusalKind::Expired, .. }),
            "{role}: {dialled}"
        );
        assert!(
            matches!(accepted, TransportError::Refused { refusal: Refusal::Expired, .. }),
            "{role}: {accepted}"
        );
    }
    let expired = expired_member(&cluster, Controller, 2);
    let proxy = member(&cluster, Proxy, 1);
    let (dialled, accepted) = both_errors(&proxy, &expired, Controller).await;
    assert!(matches!(dialled, TransportError::Refused { refusal: Refusal::Expired, .. }), "{dialled}");
    assert!(
        matches!(accepted, TransportError::RefusedByPeer { kind: RefusalKind::Expired, .. }),
        "{accepted}"
    );
}

#[tokio::test]
async fn a_certificate_not_valid_yet_is_told_apart_from_an_expired_one() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let early = cluster.authority.renew(identity_of(&cluster, Proxy, 1), SystemTime::now() + 9 * DAY, DAY);
    let early = start(&early.expect("its own identity"));
    let (_, accepted) = both_errors(&early, &controller, Controller).await;
    assert!(matches!(accepted, TransportError::Refused { refusal: Refusal::NotYetValid, .. }), "{accepted}");
}

#[tokio::test]
async fn a_foreign_dialler_hears_why_it_was_refused() {
    // The dialling side is made to believe the acceptor, so that only the acceptor can refuse.
    let (ours, theirs) = (small_cluster(), small_cluster());
    let controller = member(&ours, Controller, 1);
    let foreign = identity_of(&theirs, Proxy, 1);
    let trusting = Trust::of(identity_of(&ours, Proxy, 1)).expect("an authority just made");
    let tls = Tls::new(foreign, trusting).expect("a certificate just made");
    let config = tls.client_config(&Verdict::default()).expect("the same as in production");
    let (dialled, accepted) = raw_refusal(&controller, config).await;
    assert!(
        matches!(dialled, TransportError::RefusedByPeer { kind: RefusalKind::WrongCluster, .. }),
        "{dialled}"
    );
    let claimed = Some(theirs.cluster);
    assert!(
        matches!(&accepted, TransportError::Refused { refusal: Refusal::WrongCluster { claimed: c, .. }, .. } if *c == claimed),
        "{accepted}"
    );
    assert!(accepted.to_string().contains(&theirs.cluster.to_string()), "{accepted}");
}

/// Dials with a configuration that is not quite right, and says what both sides heard.
async fn raw_refusal(
    acceptor: &QuicTransport,
    config: rustls::ClientConfig,
) -> (TransportError, TransportError) {
    let config = QuicClientConfig::try_from(config).expect("TLS 1.3 is there");
    let endpoint = quinn::Endpoint::client(loopback()).expect("a free port");
    let connecting = endpoint
        .connect_with(quinn::ClientConfig::new(Arc::new(config)), acceptor.local_address, tls::SERVER_NAME)
        .expect("a proper configuration");
    let dialling = async {
        match connecting.await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        }
    };
    let both = async { tokio::join!(dialling, acceptor.accept()) };
    let (dialled, accepted) = within("refusing", both).await;
    let accepted = accepted.expect_err("the connection must not come about");
    (wire::connection_error(&dialled, "there", None), accepted)
}

fn client_config(identity: &Identity) -> rustls::ClientConfig {
    let tls = Tls::new(identity, Trust::of(identity).expect("an authority just made"));
    tls.expect("a certificate just made").client_config(&Verdict::default()).expect("as in production")
}

#[tokio::test]
async fn another_version_of_the_transport_is_told_so() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let mut config = client_config(identity_of(&cluster, Proxy, 1));
    config.alpn_protocols = vec![b"ravelin/2".to_vec()];
    let (dialled, accepted) = raw_refusal(&controller, config).await;
    assert!(matches!(dialled, TransportError::RefusedByPeer { kind: RefusalKind::Version, .. }), "{dialled}");
    assert!(
        matches!(accepted, TransportError::Refused { refusal: Refusal::Version { .. }, .. }),
        "{accepted}"
    );
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let mut config = client_config(identity_of(&cluster, Proxy, 1));
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    let (dialled, accepted) = raw_refusal(&controller, config).await;
    assert!(
        matches!(dialled, TransportError::RefusedByPeer { kind: RefusalKind::Certificate, .. }),
        "{dialled}"
    );
    assert!(
        matches!(&accepted, TransportError::Refused { refusal: Refusal::Certificate { reason }, .. } if reason == "none was presented"),
        "{accepted}"
    );
}

#[tokio::test]
async fn the_accepting_side_judges_lanes_by_itself() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let proxy = member(&cluster, Proxy, 1);
    let (dialled, accepted) = connected(&proxy, &controller, Controller).await;
    let forbidden = LaneRefusal::Forbidden { lane: Lane::Raft, opener: Proxy, acceptor: Controller };
    for (greeting, answer, refusal) in [
        ([Lane::Raft.code(), 1], wire::Answer::Forbidden, forbidden),
        ([0, 1], wire::Answer::Unknown, LaneRefusal::Unknown { code: 0 }),
        ([200, 1], wire::Answer::Unknown, LaneRefusal::Unknown { code: 200 }),
        (
            [Lane::Feed.code(), 2],
            wire::Answer::Version,
            LaneRefusal::Version { lane: Lane::Feed, version: 2 },
        ),
    ] {
        let both = async { tokio::join!(dialled.greet(Lane::Feed, greeting), accepted.accept()) };
        let (answered, taken) = within("refusing", both).await;
        let (code, ..) = answered.expect("an answer");
        assert_eq!(code, answer.code());
        let error = taken.expect_err("refused");
        assert!(
            matches!(error, TransportError::LaneRefused { by: Side::Here, refusal: r } if r == refusal),
            "{error}"
        );
        assert!(!error.ends_connection());
        let error = wire::Answer::read(code, Lane::Feed, Proxy, Controller).expect_err("a refusal");
        assert!(matches!(error, TransportError::LaneRefused { by: Side::Peer, .. }), "{error}");
    }
    let both = async { tokio::join!(dialled.open(Lane::Feed), accepted.accept()) };
    let (opened, taken) = within("opening", both).await;
    opened.expect("the connection goes on");
    assert_eq!(taken.expect("the connection goes on").0, Lane::Feed);
}

#[tokio::test]
async fn a_peer_that_dawdles_over_one_opening_delays_no_other() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let proxy = member(&cluster, Proxy, 1);
    let (dialled, accepted) = connected(&proxy, &controller, Controller).await;
    let quinn = dialled.quinn();
    let (mut slow, _) = quinn.open_bi().await.expect("a stream is free");
    slow.write_all(&[Lane::Feed.code()]).await.expect("the stream is open");
    let both = async { tokio::join!(dialled.open(Lane::Feed), accepted.accept()) };
    let (opened, taken) = within("opening", both).await;
    opened.expect("the lane is permitted");
    taken.expect("the lane is permitted");
}

/// A lane whose sending side is a bare stream, for bytes that no honest sender writes.
async fn raw_lane(
    dialled: &QuicConnection,
    accepted: &Arc<dyn Connection>,
) -> (quinn::SendStream, crate::LaneReceiver, crate::LaneSender) {
    let greeting = [Lane::Feed.code(), wire::LANE_VERSION];
    let both = async { tokio::join!(dialled.greet(Lane::Feed, greeting), accepted.accept()) };
    let (greeted, taken) = within("opening", both).await;
    let (_, send, _receive) = greeted.expect("the lane is permitted");
    let (_, sender, receiver) = taken.expect("the lane is permitted");
    (send, receiver, sender)
}

#[tokio::test]
async fn hostile_frames_end_their_lane_only() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let proxy = member(&cluster, Proxy, 1);
    let (dialled, accepted) = connected(&proxy, &controller, Controller).await;

    let (mut send, mut receiver, _sender) = raw_lane(&dialled, &accepted).await;
    send.write_all(&(crate::FRAME_BYTES_MAX as u32 + 1).to_le_bytes()).await.expect("the stream is open");
    for _ in 0..2 {
        let error = within("refusing", receiver.receive()).await.expect_err("too large");
        let bytes = crate::FRAME_BYTES_MAX as u64 + 1;
        assert!(matches!(error, TransportError::FrameTooLarge { bytes: b, .. } if b == bytes), "{error}");
    }

    let (mut send, mut receiver, _sender) = raw_lane(&dialled, &accepted).await;
    send.write_all(b"\x03\0\0\0abc\x09\0\0\0torn").await.expect("the stream is open");
    send.finish().expect("the stream is open");
    let frame = within("receiving", receiver.receive()).await.expect("a whole frame");
    assert_eq!(frame.as_deref(), Some(b"abc".as_slice()));
    let error = within("refusing", receiver.receive()).await.expect_err("torn");
    assert!(
        matches!(&error, TransportError::LaneBroken { reason, .. } if reason == "it ended within a frame"),
        "{error}"
    );

    let both = async { tokio::join!(dialled.open(Lane::Feed), accepted.accept()) };
    let (opened, taken) = within("opening", both).await;
    opened.expect("the connection goes on");
    taken.expect("the connection goes on");
}

#[tokio::test]
async fn a_sender_dropped_within_a_frame_does_not_end_its_lane_in_order() {
    let cluster = small_cluster();
    let (one, two) = (member(&cluster, Controller, 1), member(&cluster, Controller, 2));
    let (dialled, accepted) = connected(&one, &two, Controller).await;
    let (opened, taken) = tokio::join!(dialled.open(Lane::Snapshot), accepted.accept());
    let (mut sender, _answers) = opened.expect("the lane is permitted");
    let (_, _back, mut receiver) = taken.expect("the lane is permitted");
    // Larger than the window: the frame cannot be wholly with the stream while nobody reads.
    let sending = sender.send(Bytes::from(vec![1; crate::FRAME_BYTES_MAX]));
    assert!(
        timeout(Duration::from_millis(100), sending).await.is_err(),
        "1 MiB went through a window of 512 KiB"
    );
    drop(sender);
    let error = within("refusing", receiver.receive()).await.expect_err("torn");
    let reason = "the sender gave up within a frame";
    assert!(matches!(&error, TransportError::LaneBroken { reason: r, .. } if r == reason), "{error}");
}

#[tokio::test]
async fn garbage_on_the_port_is_survived() {
    let cluster = small_cluster();
    let controller = member(&cluster, Controller, 1);
    let stranger = UdpSocket::bind(loopback()).expect("a free port");
    for length in [0, 1, 20, 1199, 1200, 1400] {
        for first in [0x00, 0x40, 0xc0, 0xff] {
            let mut packet = vec![0x5a; length];
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            stranger.send_to(&packet, controller.local_address).expect("loopback takes packets");
        }
    }
    let proxy = member(&cluster, Proxy, 1);
    connected(&proxy, &controller, Controller).await;
}

/// A controller on a runtime of its own that takes one connection and then dies without a word: nothing is driven any more. Its socket is
/// closed only when the returned thread is told to end.
fn mortal_controller(
    identity: &Identity,
    options: &QuicOptions,
) -> (SocketAddr, std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (identity, options) = (identity.clone(), options.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let held = runtime.block_on(async {
            let transport = QuicTransport::bind(&identity, loopback(), options).expect("a free port");
            sender.send(transport.local_address).expect("the test waits");
            let connection = transport.accept().await.expect("the test dials");
            (transport, connection)
        });
        let _ = ended.recv();
        // The tasks go first, so that the handles can tell nobody.
        drop(runtime);
        drop(held);
    });
    (receiver.recv().expect("the controller starts"), end, thread)
}

#[tokio::test]
async fn a_silent_peer_is_lost_after_the_idle_timeout() {
    let cluster = small_cluster();
    let options = QuicOptions {
        idle_timeout: Duration::from_secs(4),
        keep_alive_interval: Duration::from_secs(1),
        ..QuicOptions::default()
    };
    let (address, end, thread) = mortal_controller(identity_of(&cluster, Controller, 2), &options);
    let one = QuicTransport::bind(identity_of(&cluster, Controller, 1), loopback(), options);
    let one = one.expect("a free port");
    let target =
        Target { address: address.to_string(), expect: Expected { role: Controller, node: Some(2) } };
    let dialled = within("connecting", one.dial(&target)).await.expect("the peer is there");
    let error = within("losing", dialled.closed()).await;
    assert!(
        matches!(&error, TransportError::Lost { reason } if reason == "nothing was heard for too long"),
        "{error}"
    );
    drop(end);
    thread.join().expect("no panic");
}

#[tokio::test]
async fn a_restarted_peer_says_at_once_that_it_knows_nothing() {
    let cluster = small_cluster();
    let options = QuicOptions {
        idle_timeout: Duration::from_secs(600),
        keep_alive_interval: Duration::from_millis(100),
        ..QuicOptions::default()
    };
    let two = identity_of(&cluster, Controller, 2);
    let (address, end, thread) = mortal_controller(two, &options);
    let one = QuicTransport::bind(identity_of(&cluster, Controller, 1), loopback(), options.clone());
    let one = one.expect("a free port");
    let target =
        Target { address: address.to_string(), expect: Expected { role: Controller, node: Some(2) } };
    let dialled = within("connecting", one.dial(&target)).await.expect("the peer is there");
    drop(end);
    thread.join().expect("no panic");

    let again = QuicTransport::bind(two, address, options).expect("the port is free again");
    let error = within("losing", dialled.closed()).await;
    assert!(
        matches!(&error, TransportError::Lost { reason } if reason.contains("has probably restarted")),
        "{error}"
    );
    connected(&one, &again, Controller).await;
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let cluster = small_cluster();
    let refused = |options| {
        let bound = QuicTransport::bind(identity_of(&cluster, Controller, 1), loopback(), options);
        let error = bound.err().expect("the options make no sense");
        assert!(matches!(error, TransportError::Options { .. }), "{error}");
        error.to_string()
    };
    let default = QuicOptions::default;
    assert!(refused(QuicOptions { idle_timeout: Duration::from_secs(1), ..default() }).contains("a third"));
    assert!(refused(QuicOptions { lanes_max: 0, ..default() }).contains("at least 1"));
    assert!(refused(QuicOptions { idle_timeout: Duration::MAX, ..default() }).contains("longer than QUIC"));
}

#[tokio::test]
async fn too_many_connections_are_refused_and_the_others_go_on() {
    let cluster = small_cluster();
    let options = QuicOptions { connections_max: 1, ..QuicOptions::default() };
    let controller = QuicTransport::bind(identity_of(&cluster, Controller, 1), loopback(), options);
    let controller = controller.expect("a free port");
    let proxy = member(&cluster, Proxy, 1);
    let (dialled, _accepted) = connected(&proxy, &controller, Controller).await;
    let error = within("refusing", proxy.dial(&target(&controller, Controller))).await.err();
    let error = error.expect("one is the limit");
    assert!(
        matches!(&error, TransportError::Unreachable { reason, .. } if reason == "it takes no more connections now"),
        "{error}"
    );
    dialled.open(Lane::Feed).await.expect("the first goes on");
}

#[tokio::test]
async fn a_crowd_proves_where_it_is_before_it_is_let_in() {
    let cluster = small_cluster();
    let options = QuicOptions { handshakes_before_retry: 0, ..QuicOptions::default() };
    let controller = QuicTransport::bind(identity_of(&cluster, Controller, 1), loopback(), options);
    let controller = controller.expect("a free port");
    let proxy = member(&cluster, Proxy, 1);
    connected(&proxy, &controller, Controller).await;
}
