//! What init makes, what files are believed, and that secrets stay secret.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

fn three_controllers() -> ClusterPlan {
    let addresses = ["127.0.0.1:7101", "[::1]:7102", "node-3.example:7103"];
    ClusterPlan::new(addresses.map(str::to_owned).to_vec(), 2)
}

fn new_cluster() -> NewCluster {
    init(&three_controllers()).expect("a plan that makes sense")
}

fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("a writable directory");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file is there").permissions().mode() & 0o7777
}

/// What loading this text as an identity file says.
fn refusal(text: &str) -> String {
    let directory = directory();
    let path = directory.path().join("identity.toml");
    write(&path, text, 0o600);
    let error = Identity::load(&path).expect_err("the text is not an identity");
    let prefix = format!("{}: ", path.display());
    let message = error.to_string();
    message.strip_prefix(&prefix).unwrap_or_else(|| panic!("the file is not named in {message:?}")).to_owned()
}

#[test]
fn init_makes_every_identity_planned() {
    let new = new_cluster();
    let names: Vec<String> = new.identities.iter().map(|identity| new.file_name(identity)).collect();
    assert_eq!(
        names,
        [
            "controller-1.toml",
            "controller-2.toml",
            "controller-3.toml",
            "proxy-1.toml",
            "proxy-2.toml",
            "operator.toml"
        ]
    );
    for identity in &new.identities {
        assert_eq!(identity.cluster(), new.cluster);
        assert_eq!(identity.controllers().len(), 3);
        assert_eq!(certificate::peer_named(identity.certificate()), Ok(identity.peer().clone()));
    }
    for (controller, identity) in new.identities[0].controllers().iter().zip(&new.identities) {
        let key = certificate::public_key(identity.certificate()).expect("a certificate just made");
        assert_eq!(controller.public_key_sha256, certificate::sha256(&key), "controller {}", controller.node);
    }
    assert_ne!(new.cluster, new_cluster().cluster, "each cluster has an id of its own");
}

#[test]
fn certificates_are_valid_for_a_year() {
    let plan = three_controllers();
    let new = init(&plan).expect("a plan that makes sense");
    let expires = new.identities[0].expires().expect("a year is not for ever");
    let left = expires.duration_since(plan.issued_at).expect("in the future");
    assert_eq!(left.as_secs().div_ceil(86_400), 365);
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let refused = |change: fn(&mut ClusterPlan)| {
        let mut plan = three_controllers();
        change(&mut plan);
        init(&plan).expect_err("the plan makes no sense").to_string()
    };
    assert_eq!(
        refused(|plan| plan.controllers.truncate(2)),
        "cannot plan the cluster: 2 controllers; plan 1, 3, 5 or 7"
    );
    assert!(refused(|plan| plan.controllers.clear()).contains("0 controllers"));
    assert!(refused(|plan| plan.controllers[1] = plan.controllers[0].clone()).contains("the same address"));
    assert!(refused(|plan| plan.proxies = 10_001).contains("at most 10000 proxies"));
    for address in
        ["", "host", "host:", ":1", "host:0", "host:65536", "host:+1", "[::1]", "::1:7000", "a b:1", "a\"b:1"]
    {
        let plan = ClusterPlan::new(vec![address.to_owned()], 0);
        let error = init(&plan).expect_err("not an address").to_string();
        assert!(error.contains(&format!("{address:?} is not host:port")), "{error}");
    }
}

#[test]
fn files_read_back_and_only_their_owner_may_read_them() {
    let new = new_cluster();
    let directory = directory();
    let inside = directory.path().join("made").join("below");
    let paths = new.save(&inside).expect("an empty directory");
    assert_eq!(mode(&inside), 0o700);
    assert_eq!(paths.len(), 7);
    for path in &paths {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    for (identity, path) in new.identities.iter().zip(&paths) {
        let loaded = Identity::load(path).expect("just written");
        assert_eq!(loaded.to_toml(), identity.to_toml());
        assert_eq!(loaded.peer(), identity.peer());
        assert_eq!(loaded.controllers(), identity.controllers());
        assert_eq!(loaded.derive_key("x"), identity.derive_key("x"));
    }
    let left = fs::read_dir(&inside).expect("the directory is there").count();
    assert_eq!(left, paths.len(), "no temporary file stays behind");
}

#[test]
fn nothing_is_overwritten() {
    let new = new_cluster();
    let directory = directory();
    let taken = directory.path().join("proxy-2.toml");
    write(&taken, "mine", 0o644);
    let error = new.save(directory.path()).expect_err("one name is taken");
    assert!(matches!(&error, IdentityError::Exists { path } if *path == taken), "{error}");
    assert_eq!(
        fs::read_dir(directory.path()).expect("the directory is there").count(),
        1,
        "none was written"
    );

    let error = new.identities[0].save(&taken).expect_err("the name is taken");
    assert!(error.to_string().contains("already exists and is not overwritten"), "{error}");
    assert_eq!(fs::read_to_string(&taken).expect("untouched"), "mine");
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_mend() {
    let directory = directory();
    let path = directory.path().join("identity.toml");
    let text = new_cluster().identities[0].to_toml();
    for bits in [0o640, 0o604, 0o620, 0o601, 0o644] {
        write(&path, &text, bits);
        let error = Identity::load(&path).expect_err("others may read it");
        let wanted = format!("(mode {bits:04o}); run: chmod 600 {}", path.display());
        assert!(error.to_string().ends_with(&wanted), "{error}");
    }
    write(&path, &text, 0o400);
    Identity::load(&path).expect("read-only for the owner is fine");
}

#[test]
fn a_missing_file_says_where_identities_come_from() {
    let error = Identity::load(Path::new("/nonexistent/identity.toml")).expect_err("no such file");
    assert_eq!(
        error.to_string(),
        "/nonexistent/identity.toml: no such file; `ravelin init` makes identity files"
    );
}

#[test]
fn files_that_are_no_identity_say_why() {
    let new = new_cluster();
    let text = new.identities[0].to_toml();
    let other = new.identities[1].to_toml();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        refusal(&text.replacen(from, to, 1))
    };
    assert_eq!(
        changed("format = 2", "format = 3"),
        "format 3 is newer than the 2 this version reads; use a newer ravelin"
    );
    assert_eq!(changed("format = 2", "format = 0"), "format 0 does not exist");
    assert_eq!(
        changed("format = 2", "format = 1"),
        "format 1 is no longer read (this version reads 2); make identities anew with `ravelin init`"
    );
    assert!(changed("node = 1", "node = 2").starts_with("the certificate is for spiffe://"));
    assert!(
        changed("role = \"controller\"", "role = \"proxy\"").starts_with("the certificate is for spiffe://")
    );
    assert!(changed("role = \"controller\"", "role = \"king\"").contains("\"king\" is not a role"));
    assert!(
        changed("recovery_epoch", "recovery_epic").starts_with("line 1: missing field `recovery_epoch`")
            || changed("recovery_epoch", "recovery_epic").contains("unknown field `recovery_epic`")
    );
    assert!(changed("127.0.0.1:7101", "127.0.0.1").contains("is not host:port"));
    assert!(
        changed("node = 2", "node = 1").contains("founders: must be listed by ascending node, each once")
    );
    let listed = text.split("[[controllers]]").nth(2).expect("three are listed");
    let doubled = text.replacen(listed, &listed.replacen("node = 2", "node = 1", 1), 1);
    assert!(refusal(&doubled).contains("controllers: must be listed by ascending node, each once"));
    assert!(
        changed("public_key_sha256 = \"", "public_key_sha256 = \"0").contains("is not 64 hexadecimal digits")
    );

    let key_of = |text: &str| {
        let from = text.find("private_key").expect("a key");
        let to = text.find("authority").expect("an authority");
        text[from..to].to_owned()
    };
    assert_eq!(
        refusal(&text.replace(&key_of(&text), &key_of(&other))),
        "private_key does not belong to certificate"
    );
    assert_eq!(refusal(""), "line 1: missing field `format`");
    assert!(refusal(&text[..text.len() / 2]).starts_with("line "));
}

#[test]
fn founders_stand_apart_from_addresses_and_only_a_founder_lists_them() {
    let new = new_cluster();
    let text = new.identities[0].to_toml();
    let founders = (1..=3).map(|node| Founder { node, incarnation: 1 }).collect::<Vec<_>>();
    assert_eq!(new.identities[0].founders(), founders);
    for other in new.identities.iter().filter(|identity| identity.role() != PeerRole::Controller) {
        assert!(other.founders().is_empty());
    }
    let part = "\n[[founders]]\nnode = 1\nincarnation = 1\n";
    assert!(text.contains(part), "{text}");
    let without_itself = refusal(&text.replacen(part, "", 1));
    assert!(
        without_itself.starts_with("founders: this node (1, incarnation 1) is not among them"),
        "{without_itself}"
    );
    let proxy = new.identities.iter().find(|identity| identity.role() == PeerRole::Proxy).expect("two");
    let meddled = proxy.to_toml().replacen("\n[[controllers]]", &format!("{part}\n[[controllers]]"), 1);
    assert_eq!(refusal(&meddled), "founders: a proxy is none; remove them from the file");

    // Addresses may change as they like: who founded the cluster does not follow from them.
    let directory = directory();
    let path = directory.path().join("moved.toml");
    let (head, listed) = text.split_once("\n[[controllers]]").expect("three are listed");
    let sealing = listed.split_once("\n[[sealing_keys]]").expect("a controller's").1;
    let own = listed.split("\n\n").next().expect("the first of them").replace("127.0.0.1:7101", "10.1.1.1:1");
    write(&path, &format!("{head}\n[[controllers]]{own}\n\n[[sealing_keys]]{sealing}"), 0o600);
    let moved = Identity::load(&path).expect("a file with other addresses");
    assert_eq!((moved.founders(), moved.controllers().len()), (founders.as_slice(), 1));
}

#[test]
fn nodes_that_join_later_are_no_founders_and_get_what_they_need_from_the_authority() {
    let new = new_cluster();
    let directory = directory();
    let path = directory.path().join("cluster-ca.pem");
    new.authority.save(&path).expect("a new file");
    let authority = Authority::load(&path).expect("just written");
    let operator = new.identities.last().expect("the operator");
    let node =
        |role, node, address: Option<&str>| NewNode { role, node, address: address.map(str::to_owned) };
    let wanted = [node(PeerRole::Controller, 4, Some("127.0.0.1:7104")), node(PeerRole::Proxy, 9, None)];
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    let made = add(&authority, operator, &wanted, now, day).expect("two that make sense");
    let directory = directory.path().join("made").join("below");
    let paths = save_added(&wanted, &made, &directory).expect("new files");
    assert_eq!(mode(&directory), 0o700);
    assert!(paths[0].ends_with("controller-4.toml") && paths[1].ends_with("proxy-9.toml"));
    let controller = Identity::load(&paths[0]).expect("its parts belong together");
    assert!(controller.founders().is_empty() && controller.incarnation() > 1);
    assert_eq!(controller.sealing_keys().next(), new.identities[0].sealing_keys().next());
    let numbers = |identity: &Identity| identity.controllers().iter().map(|it| it.node).collect::<Vec<_>>();
    assert_eq!((numbers(&controller), numbers(&made[1])), (vec![1, 2, 3, 4], vec![1, 2, 3, 4]));
    let key = certificate::public_key(controller.certificate()).expect("a certificate just made");
    assert_eq!(controller.controllers()[3].public_key_sha256, certificate::sha256(&key));
    let replaced = add(&authority, operator, &wanted[..1], now + day, day).expect("the same number, later");
    assert!(replaced[0].incarnation() > controller.incarnation());

    let error = save_added(&wanted, &made, &directory).expect_err("the names are taken");
    assert!(matches!(error, IdentityError::Exists { .. }), "{error}");
    let refused = |like: &Identity, nodes: &[NewNode]| {
        add(&authority, like, nodes, now, day).expect_err("it makes no sense").to_string()
    };
    assert!(refused(&new_cluster().identities[0], &wanted).contains("another authority"));
    assert!(refused(operator, &[]).contains("0 nodes"));
    assert!(refused(operator, &[wanted[1].clone(), wanted[1].clone()]).contains("proxy-9 is named twice"));
    assert!(refused(operator, &[node(PeerRole::Controller, 5, None)]).contains("needs an address"));
    assert!(refused(operator, &[node(PeerRole::Proxy, 5, Some("a:1"))]).contains("only a controller"));
    assert!(refused(operator, &[node(PeerRole::Controller, 0, Some("a:1"))]).contains("numbered from 1"));
}

#[test]
fn no_error_quotes_the_private_key() {
    let text = new_cluster().identities[0].to_toml();
    let from = text.find("-----BEGIN PRIVATE KEY-----").expect("a key");
    let secret: Vec<&str> = text[from..].lines().skip(1).take(2).collect();
    let one_line =
        text.replace("private_key = \"\"\"\n", "private_key = \"").replace("format = 2", "format = \"2\"");
    let as_number =
        text.replace("recovery_epoch = 0", &format!("recovery_epoch = \"{}\\\"{}\"", secret[0], secret[1]));
    let bare = text.replace("private_key = \"\"\"\n-----BEGIN PRIVATE KEY-----\n", "private_key = ");
    for broken in [one_line, as_number, bare] {
        let message = refusal(&broken);
        for part in &secret {
            assert!(!message.contains(&part[..12]), "{message}");
        }
    }
}

#[test]
fn debug_output_shows_no_private_key() {
    let new = new_cluster();
    let shown = format!("{new:?} {:?}", new.identities[0]);
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn derived_keys_differ_by_purpose_and_node() {
    let new = new_cluster();
    let key = new.identities[3].derive_key("last good generations");
    assert_eq!(key, new.identities[3].derive_key("last good generations"));
    assert_ne!(key, new.identities[3].derive_key("last good generation"));
    assert_ne!(key, new.identities[4].derive_key("last good generations"));
}

#[test]
fn the_authority_reads_back_and_renews() {
    let new = new_cluster();
    let directory = directory();
    let path = directory.path().join("cluster-ca.pem");
    new.authority.save(&path).expect("a new file");
    assert_eq!(mode(&path), 0o600);
    let authority = Authority::load(&path).expect("just written");
    assert_eq!(authority.certificate_pem(), new.authority.certificate_pem());

    let old = &new.identities[0];
    let later = SystemTime::now() + Duration::from_secs(400 * 86_400);
    let renewed = authority.renew(old, later, Duration::from_secs(86_400)).expect("its own identity");
    assert_eq!(renewed.peer(), old.peer());
    assert_eq!(
        renewed.derive_key("x"),
        old.derive_key("x"),
        "the key stays, so what it sealed stays readable"
    );
    assert!(renewed.expires() > old.expires());
    let renewed_path = directory.path().join("renewed.toml");
    renewed.save(&renewed_path).expect("a new file");
    Identity::load(&renewed_path).expect("its parts belong together");

    let foreign = new_cluster();
    let error = authority
        .renew(&foreign.identities[0], later, Duration::from_secs(1))
        .expect_err("a foreign identity");
    assert!(error.to_string().contains("another authority"), "{error}");

    write(&directory.path().join("open.pem"), "x", 0o644);
    let error = Authority::load(&directory.path().join("open.pem")).expect_err("others may read it");
    assert!(matches!(error, IdentityError::Permissions { .. }), "{error}");
    write(&directory.path().join("empty.pem"), "nothing here", 0o600);
    let error = Authority::load(&directory.path().join("empty.pem")).expect_err("no PEM in it");
    assert!(error.to_string().ends_with("no private key in PEM"), "{error}");
}

/// A file of the form of today. Its key is known to everybody: it is of no use but here.
const GOLDEN: &str = include_str!("../../tests/golden/identity-v2.toml");

#[test]
fn the_golden_file_reads_and_writes_unchanged() {
    let directory = directory();
    let path = directory.path().join("identity.toml");
    write(&path, GOLDEN, 0o600);
    let identity = Identity::load(&path).expect("a file of this form");
    assert_eq!(identity.peer().uri(), "spiffe://83d794a860c7e08a0c6bbc589e46b55c/proxy/2");
    assert_eq!(identity.recovery_epoch(), 0);
    assert_eq!(identity.incarnation(), 1);
    let addresses: Vec<&str> = identity.controllers().iter().map(|c| c.address.as_str()).collect();
    assert_eq!(addresses, ["127.0.0.1:7101", "[::1]:7102", "node-3.example:7103"]);
    assert_eq!(identity.to_toml(), GOLDEN);
    let key: String = identity.derive_key("golden").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(key, "f5be590c428da4f197ec0f95889e0a7db13e476621be182d4b85d75a2d76bc60");
}

#[test]
fn a_certificate_must_name_exactly_one_peer() {
    let new = new_cluster();
    let names = |names: &[&str]| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let peer = new.identities[0].peer();
        let mut params =
            authority::leaf_params(peer, SystemTime::now(), Duration::from_secs(60)).expect("dates in range");
        params.subject_alt_names =
            names.iter().map(|name| rcgen::SanType::URI((*name).try_into().expect("plain ASCII"))).collect();
        let pem = new.authority.sign_params(params, &key).expect("signed");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("just encoded");
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let now = rustls_pki_types::UnixTime::now();
        // To a proxy the certificate alone tells; between controllers the recorded key would decide first.
        let proxy = new.identities.iter().find(|identity| identity.role() == PeerRole::Proxy);
        certificate::Trust::of(proxy.expect("one is planned"))
            .expect("an authority just made")
            .verify(&der, &[], now, certificate::Usage::Client, algorithms)
            .map(|verified| verified.peer)
            .map_err(|refusal| refusal.to_string())
    };
    let one = new.identities[0].peer().uri();
    let two = new.identities[1].peer().uri();
    assert_eq!(names(&[&one]), Ok(new.identities[0].peer().clone()));
    assert!(names(&[]).expect_err("no name").ends_with("it names no peer"));
    assert!(names(&[&one, &two]).expect_err("two names").ends_with("it names more than one peer"));
    assert!(
        names(&["https://example.com/"]).expect_err("no peer's name").contains("is not a name of the form")
    );
    let elsewhere = one.replacen(&new.cluster.to_string(), "00000000000000000000000000000000", 1);
    assert!(names(&[&elsewhere]).expect_err("another trust domain").contains("is not of cluster"));
}

#[test]
fn controllers_share_one_sealing_key_that_nobody_else_holds_and_nothing_prints() {
    let new = new_cluster();
    let of = |role: PeerRole| new.identities.iter().filter(move |identity| identity.role() == role);
    let keys: Vec<Vec<[u8; 32]>> =
        of(PeerRole::Controller).map(|identity| identity.sealing_keys().copied().collect()).collect();
    let [first, second, third] = keys.as_slice() else { panic!("three controllers") };
    assert!(first.len() == 1 && first == second && first == third && first != &[[0; 32]]);
    for role in [PeerRole::Proxy, PeerRole::Operator] {
        assert!(of(role).all(|identity| identity.sealing_keys().count() == 0));
    }
    let controller = of(PeerRole::Controller).next().expect("three");
    let hex: String = first[0].iter().map(|byte| format!("{byte:02x}")).collect();
    let text = controller.to_toml();
    assert!(text.ends_with(&format!("[[sealing_keys]]\nprotection = \"none\"\nkey = \"{hex}\"\n")), "{text}");
    assert!(!format!("{controller:?} {new:?}").contains(&hex));
    assert_ne!(new_cluster().identities[0].sealing_keys().next(), controller.sealing_keys().next());

    // Another key may follow: it opens what was sealed before a change of keys.
    let directory = directory();
    let path = directory.path().join("two.toml");
    let older = "aa".repeat(32);
    write(&path, &format!("{text}\n[[sealing_keys]]\nprotection = \"none\"\nkey = \"{older}\"\n"), 0o600);
    let two = Identity::load(&path).expect("two keys");
    assert_eq!(two.sealing_keys().copied().collect::<Vec<_>>(), [first[0], [0xaa; 32]]);
}

#[test]
fn sealing_keys_in_the_wrong_file_or_form_are_refused_without_being_quoted() {
    let new = new_cluster();
    let text = new.identities[0].to_toml();
    let (without, keys) = text.split_at(text.find("\n[[sealing_keys]]").expect("a controller's"));
    assert!(refusal(without).starts_with("sealing_keys: none; a controller needs one"));
    let proxy = new.identities.iter().find(|identity| identity.role() == PeerRole::Proxy).expect("two");
    assert!(
        refusal(&format!("{}{keys}", proxy.to_toml())).starts_with("sealing_keys: a proxy must not hold any")
    );
    let unlocked = refusal(&text.replace("protection = \"none\"", "protection = \"password\""));
    assert_eq!(unlocked, "sealing_keys: protected in a way that this version does not know");
    let odd =
        refusal(&text.replace("key = \"", "key = \"zz").replace("private_key = \"zz", "private_key = \""));
    assert_eq!(odd, "sealing_keys: a key is not 64 hexadecimal digits");
    let many = refusal(&format!("{without}{}", keys.repeat(9)));
    assert_eq!(many, "sealing_keys: more than 8");
}
