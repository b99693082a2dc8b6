//! `ravelin explain` by a file, by a cluster and by a running process: all say the same, and it is what the process does.

use std::process::Output;

use crate::driver::{Running, free_address, get, ravelin, text};
use crate::nodes::{free_addresses, operate, start, three_founders, until};
use crate::standalone::{HELLO, Standalone};

fn explained(words: &[&str]) -> (bool, String) {
    let output: Output = std::process::Command::new(env!("CARGO_BIN_EXE_ravelin"))
        .arg("explain")
        .args(words)
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).expect("text"))
}

#[test]
fn a_file_and_the_process_on_it_say_the_same() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/x", 200);
    let port = all.web.port();
    let url = format!("http://hello.test:{port}/x");
    let file = format!("--configFile={}", all.file().display());
    let (good, of_file) = explained(&[&url, &file]);
    assert!(good, "{of_file}");
    let wanted = format!(
        "router hello@file, priority 18: Host(`hello.test`)\nservice hello@file\n  server http://{}\n",
        all.backend
    );
    assert!(of_file.contains(&wanted), "{of_file}");
    let api = all.api.to_string();
    let (good, of_process) = explained(&[&url, "--api", &api, "--method", "GET"]);
    assert!(good, "{of_process}");
    assert_eq!(of_file, of_process);
    assert!(get(all.web, "hello.test", "/x").expect("an answer").body.contains("GET /x"), "as it was told");
    let (good, none) = explained(&[&format!("http://nobody.test:{port}/"), "--api", &api]);
    assert!(good && none.contains("no router takes it: 404"), "{none}");
    let (good, wrong) = explained(&["http://hello.test:1/", "--api", &api]);
    assert!(!good && wrong.contains("no entry point listens on port 1"), "{wrong}");
    let (good, wrong) = explained(&["hello.test", &file]);
    assert!(!good && wrong.contains("is no URL"), "{wrong}");
}

#[test]
fn a_cluster_and_a_proxy_of_it_say_the_same_though_secrets_stay_in_the_cluster() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let nodes = format!("{},proxy-1", three_founders(&free_addresses(3)));
    let made = ravelin(folder, &["init", "--out", "identities", "--nodes", &nodes]);
    assert!(made.status.success(), "{}", text(&made));
    let _controllers: Vec<Running> = (1..=3).map(|node| start(folder, "controller", node)).collect();
    let mut proxy = start(folder, "proxy", 1);
    let (web, api) = (free_address(), free_address());
    let pair = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("random bytes");
    let pem = |text: String| serde_json::Value::from(text).to_string();
    let (certificate, key) = (pem(pair.cert.pem()), pem(pair.signing_key.serialize_pem()));
    // Wherever a table needs a secret: users, a header, a client certificate; and one that is of no use to routes.
    let site = format!(
        "entryPoints: {{web: {{address: '{web}'}}, traefik: {{address: '{api}'}}}}\napi: {{insecure: true}}\nhttp:\n  \
         routers:\n    shop: {{rule: 'Host(`shop.test`)', service: shop, middlewares: [users, digest, header, asked]}}\n    \
         cart: {{rule: 'Host(`shop.test`) && Method(`POST`)', service: shop}}\n  middlewares:\n    \
         users: {{basicAuth: {{users: ['a:{{SHA}}VBPuJHI7uixaa6LQGWx4s+5GKNE=']}}}}\n    \
         digest: {{digestAuth: {{users: ['a:traefik:0123456789abcdef0123456789abcdef']}}}}\n    \
         header: {{headers: {{customRequestHeaders: {{Authorization: Bearer of-nobody}}}}}}\n    \
         asked: {{forwardAuth: {{address: 'http://127.0.0.1:1', tls: {{cert: {certificate}, key: {key}}}}}}}\n  \
         serversTransports:\n    own: {{certificates: [{{certFile: {certificate}, keyFile: {key}}}]}}\n  services:\n    \
         shop: {{loadBalancer: {{serversTransport: own, servers: [{{url: 'https://127.0.0.1:1'}}]}}}}\n\
         tls: {{certificates: [{{certFile: {certificate}, keyFile: {key}}}]}}\n"
    );
    std::fs::write(folder.join("site.yaml"), site).expect("a file");
    until(folder, &["apply", "site.yaml"], |said| said.contains(" put"));
    proxy.until("it serves", || get(web, "shop.test", "/").is_some_and(|answer| answer.status == 401));

    let url = format!("http://shop.test:{}/x", web.port());
    let (good, of_cluster) = operate(folder, &["explain", &url]);
    assert!(good, "{of_cluster}");
    let wanted = "router shop@cluster, priority 17: Host(`shop.test`)\n  middleware users@cluster: basicAuth\n  \
                  middleware digest@cluster: digestAuth\n  middleware header@cluster: headers\n  \
                  middleware asked@cluster: forwardAuth\nservice shop@cluster\n  server https://127.0.0.1:1\n";
    assert!(of_cluster.contains(wanted), "{of_cluster}");
    assert!(of_cluster.contains("cart@cluster (priority 35): Method(`POST`) does not hold"), "{of_cluster}");
    let (good, of_proxy) = explained(&[&url, "--api", &api.to_string()]);
    assert!(good, "{of_proxy}");
    assert_eq!(of_cluster, of_proxy);

    let (good, json) = operate(folder, &["explain", &url, "--json", "--node", "2"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(good && json["explanation"] == of_cluster, "{json}");
    let (good, wrong) = operate(folder, &["explain", "http://shop.test:1/"]);
    assert!(!good && wrong.contains("no entry point listens on port 1"), "{wrong}");
}
