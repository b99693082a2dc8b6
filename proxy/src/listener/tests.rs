//! Sockets by what is wanted: opened, kept, given up, refused with a reason.

use super::*;

fn wanted(address: &str) -> Wanted {
    Wanted { address: address.parse(), settings: Arc::new(Settings::default()), reuse_port: false }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<Arc<str>, Wanted> {
    entries.iter().map(|(name, address)| (Arc::from(*name), wanted(address))).collect()
}

fn port(listeners: &Listeners, name: &str) -> u16 {
    listeners.status().get(name).and_then(|status| status.as_ref().ok()).map_or(0, SocketAddr::port)
}

#[test]
fn each_worker_has_a_socket_on_the_same_port() {
    let mut listeners = Listeners::new(3);
    let open = listeners.reconcile(map(&[("web", "127.0.0.1:0")]));
    let ports: Vec<u16> = open["web"]
        .sockets
        .listeners
        .iter()
        .map(|socket| socket.local_addr().expect("bound").port())
        .collect();
    assert_eq!(ports.len(), 3);
    assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
}

#[test]
fn a_port_that_is_taken_is_an_error_with_names_and_the_others_go_on() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut listeners = Listeners::new(2);
    listeners.reconcile(map(&[("other", "127.0.0.1:0"), ("web", &address)]));
    let status = listeners.status();
    assert!(status["other"].is_ok());
    let error = status["web"].as_ref().expect_err("taken").to_string();
    assert!(error.contains("\"web\"") && error.contains(&address) && error.contains("in use"), "{error}");
    drop(taken);
    listeners.retry();
    assert!(listeners.status()["web"].is_ok() && !listeners.has_failed(), "freed and taken up");
}

#[test]
fn a_second_process_on_the_same_port_is_noticed() {
    let mut first = Listeners::new(2);
    first.reconcile(map(&[("web", "127.0.0.1:0")]));
    let address = format!("127.0.0.1:{}", port(&first, "web"));
    let mut second = Listeners::new(2);
    second.reconcile(map(&[("web", &address)]));
    assert!(second.has_failed(), "shared sockets must not hide it");
    let mut on_purpose = map(&[("web", &address)]);
    on_purpose.values_mut().for_each(|wanted| wanted.reuse_port = true);
    second.reconcile(on_purpose);
    assert!(!second.has_failed());
}

#[test]
fn sockets_outlive_every_change_but_that_of_their_address() {
    let mut listeners = Listeners::new(1);
    listeners.reconcile(map(&[("web", "127.0.0.1:0")]));
    let before = Arc::clone(&listeners.open["web"].sockets);
    let mut changed = map(&[("web", "127.0.0.1:0"), ("new", "127.0.0.1:0")]);
    let settings = Settings { keep_alive_requests_max: Some(1), ..Settings::default() };
    changed.get_mut("web").expect("there").settings = Arc::new(settings);
    let open = listeners.reconcile(changed);
    assert!(Arc::ptr_eq(&before, &open["web"].sockets));
    assert_eq!(open["web"].settings.keep_alive_requests_max, Some(1));
    let wildcard = format!(":{}", before.local.port());
    let open = listeners.reconcile(map(&[("web", &wildcard)]));
    assert!(!Arc::ptr_eq(&before, &open["web"].sockets), "our own port is not taken by somebody else");
    assert!(listeners.reconcile(BTreeMap::new()).is_empty());
}

#[test]
fn an_entry_point_that_cannot_move_stays_where_it_is() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut listeners = Listeners::new(1);
    listeners.reconcile(map(&[("web", "127.0.0.1:0")]));
    let before = Arc::clone(&listeners.open["web"].sockets);
    listeners.reconcile(map(&[("web", &taken.local_addr().expect("bound").to_string())]));
    assert!(Arc::ptr_eq(&before, &listeners.open["web"].sockets), "traffic goes on");
    assert!(listeners.status()["web"].is_err(), "and the error is seen");
    drop(taken);
    listeners.retry();
    assert!(!Arc::ptr_eq(&before, &listeners.open["web"].sockets) && !listeners.has_failed());
}

#[test]
fn two_entry_points_never_share_an_address_however_often_it_is_tried() {
    let mut listeners = Listeners::new(2);
    listeners.reconcile(map(&[("web", "127.0.0.1:0")]));
    let same = format!("127.0.0.1:{}", port(&listeners, "web"));
    let all = format!("0.0.0.0:{}", port(&listeners, "web"));
    for second in [&same, &all] {
        // Its name sorts before that of the one that stays.
        listeners.reconcile(map(&[("web", "127.0.0.1:0"), ("api", second)]));
        for _ in 0..3 {
            let error = listeners.status()["api"].as_ref().expect_err("web is there").to_string();
            assert!(error.contains("another entry point"), "{error}");
            assert_eq!(listeners.retry().len(), 1, "the kernel would spread connections over both");
        }
    }
    listeners.reconcile(map(&[("api", &same)]));
    assert!(listeners.status()["api"].is_ok(), "free once the other is gone");
    let other = format!("127.0.0.2:{}", port(&listeners, "api"));
    listeners.reconcile(map(&[("api", &same), ("web", &other)]));
    assert!(!listeners.has_failed(), "another address of this machine");
    listeners.reconcile(map(&[("api", &other), ("web", &same)]));
    assert!(!listeners.has_failed(), "they may change places");
}

#[test]
fn what_is_no_tcp_address_says_so() {
    let mut listeners = Listeners::new(1);
    listeners.reconcile(map(&[("a", "127.0.0.1:0/udp"), ("b", "nonsense")]));
    let status = listeners.status();
    assert!(matches!(status["a"].as_ref().map_err(|error| &**error), Err(ListenError::Udp { .. })));
    assert!(status["b"].as_ref().expect_err("no port").to_string().contains("missing port"));
}
