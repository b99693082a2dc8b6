//! The proxy of a script: one worker with the shipped connection code, compiler and request path, on an entry point `web`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use ravelin_config::check::Checker;
use ravelin_config::document::{self, Format};
use ravelin_config::draft::draft_from_documents;
use ravelin_config::static_config::{EntryPoint, StaticConfig, internal_objects};
use ravelin_config::{ConfigMap, GenerationId, Key, Kind, Object, Record, Status, object};
use ravelin_proxy::body::ResponseBody;
use ravelin_proxy::compile::{Compiler, Process};
use ravelin_proxy::connection::{
    self, Accepted, Application, ClientBody, ConnectionFacts, Control, Scope, Settings, TunnelRun,
};
use ravelin_proxy::forwarded::Present;
use ravelin_proxy::request::{self, Shared, State};
use ravelin_proxy::table::Table;
use ravelin_proxy::tls::{Choice, Hello};
use ravelin_proxy::worker::Counters;
use ravelin_transport::codec;

const TUNNEL_IDLE: Duration = Duration::from_secs(30);

struct OneWorker {
    state: State,
    table: Arc<Table>,
    counters: Counters,
}

impl Application for OneWorker {
    type Body = ResponseBody;

    async fn answer(
        self: &Rc<Self>,
        connection: &Rc<ConnectionFacts>,
        present: Present,
        request: Request<ClientBody>,
    ) -> Response<ResponseBody> {
        request::answer(&self.state, &self.table, connection, present, request).await
    }

    fn take_tunnel(body: &mut ResponseBody) -> Option<TunnelRun> {
        let tunnel = body.take_tunnel()?;
        Some(Box::new(move |client| {
            Box::pin(async move {
                tunnel.run(client, TUNNEL_IDLE).await;
            })
        }))
    }

    fn failed(status: StatusCode) -> Response<ResponseBody> {
        ravelin_proxy::error::bare(status, "")
    }

    fn tls(&self, _: &str, _: &Hello) -> Option<Choice> {
        None
    }

    async fn follow(self: Rc<Self>) {
        self.state.maintain().await;
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// A running proxy; its thread ends with the test process.
pub(crate) struct Proxy {
    address: SocketAddr,
}

impl Proxy {
    pub(crate) fn start(entry_point: &str, dynamic: &str) -> Self {
        let entry_point = entry_point_object(entry_point);
        let table = compile(&entry_point, dynamic);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, run(table, &entry_point, tell));
        });
        Self { address: told.recv().expect("the proxy starts") }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn run(table: Arc<Table>, entry_point: &EntryPoint, tell: std::sync::mpsc::Sender<SocketAddr>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback can be bound");
    tell.send(listener.local_addr().expect("a bound socket has an address")).expect("the test waits");
    let state = State::new(Arc::new(Shared::default()), 0, 1);
    let application = Rc::new(OneWorker { state, table, counters: Counters::default() });
    let settings = Arc::new(Settings::compile(entry_point));
    for id in 1.. {
        let Ok((socket, peer)) = listener.accept().await else { return };
        let local = socket.local_addr().expect("a connected socket has an address");
        let accepted =
            Accepted { id, socket, peer, local, entry_point: "web".into(), accepted_at: Instant::now() };
        let scope = Scope {
            application: Rc::clone(&application),
            settings: Arc::clone(&settings),
            control: Control::new(),
        };
        tokio::task::spawn_local(connection::serve(accepted, scope));
    }
}

/// The text of an entry point as an object, by the way of every YAML text.
fn entry_point_object(yaml: &str) -> EntryPoint {
    let mut json = serde_json::json!({});
    if !yaml.trim().is_empty() {
        json = document::parse("entry", yaml, Format::Yaml).expect("good YAML").root.to_json();
    }
    json["address"] = "127.0.0.1:0".into();
    serde_json::from_value(json).expect("an entry point")
}

fn compile(entry_point: &EntryPoint, dynamic: &str) -> Arc<Table> {
    let documents = [document::parse("dynamic.yaml", dynamic, Format::Yaml).expect("good YAML")];
    let draft = draft_from_documents("file", &documents).expect("a draft");
    let entry_points = [("web".to_owned(), entry_point.clone())].into();
    let internal = internal_objects(&StaticConfig { entry_points, ..StaticConfig::default() }, None);
    let mut checker = Checker::default();
    checker.upsert(internal.objects.into_iter().map(|(key, object)| (key, Object::clone(&object))), []);
    checker.replace_provider(&draft);
    let mut map = ConfigMap::new();
    let mut put = |key: &Key, record: &Record| {
        let bytes =
            codec::encode(object::RECORD_VERSION, &record.to_wire()).expect("a record can be written");
        map.put(key.clone(), bytes.to_vec().into());
    };
    for (key, record) in checker.records() {
        put(key, record);
    }
    let bytes = serde_json::to_vec(entry_point).expect("an object can be written").into();
    let object = Object::new(Kind::EntryPoint, 1, bytes);
    let record = Record { object, status: Status::enabled(), last_good: None };
    put(&Key::of(Kind::EntryPoint, "web").expect("a key"), &record);
    let generation = GenerationId { cluster: [0; 16], recovery_epoch: 0, revision: 1, digest: map.digest() };
    let mut compiler = Compiler::new(Arc::new(Process::new(1).expect("a process")));
    compiler.apply(generation, &map).expect("a table")
}
