//! Options of providers. The providers of files and of REST work; of the others the names are known, their options are taken
//! unread, so that a file that Traefik takes is taken.

use super::{Field, duration, flag, free, switch, text, texts};

const FILE: &[Field] = &[
    text("directory").differs(
        "names that begin with `..` (folders of a mounted ConfigMap) are left out, so that each \
                               object is read once",
    ),
    text("filename"),
    flag("watch").or("true"),
    flag("debugLogGeneratedTemplate")
        .differs("each object that a template gives is logged with `…` for its secrets, not the text itself"),
];

const REST: &[Field] = &[flag("insecure")];

macro_rules! later {
    ($($name:literal),* $(,)?) => {
        &[
            duration("providersThrottleDuration").or("2s"),
            texts("precedence").or("Traefik's order, see the reference"),
            switch("file", FILE),
            switch("rest", REST),
            $(free($name).not_yet(concat!("the provider `", $name, "` does not work yet")),)*
            free("plugin").not_yet("plugins do not work yet"),
        ]
    };
}

pub(super) const PROVIDERS: &[Field] = later![
    "docker",
    "swarm",
    "kubernetesIngress",
    "kubernetesIngressNGINX",
    "kubernetesCRD",
    "kubernetesGateway",
    "knative",
    "consulCatalog",
    "nomad",
    "ecs",
    "consul",
    "etcd",
    "zooKeeper",
    "redis",
    "http",
];
