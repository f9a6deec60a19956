//! A real broker of Apache Kafka, started once a run on free ports: a plain listener, one with TLS, one with
//! TLS and a login, one that asks each client for its certificate.

mod client;
mod cluster;
mod node;
mod sink;

use std::{
    fs,
    ops::{Deref, DerefMut},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libtest_mimic::Failed;
use serde_json::json;

use self::node::Node;
pub(crate) use self::{
    client::{Client, Content},
    cluster::Cluster,
    sink::{send, sink, write},
};
use super::{certificates::Authority, process, server};

/// Its name in `scripts/test-backends`, and in the table of faults.
pub(crate) const NAME: &str = "kafka-4.3.1";
/// A login that is there from the beginning.
pub(crate) const USER: &str = "scram";
pub(crate) const PASSWORD: &str = "scram-secret";
/// The broker.
pub(crate) struct Broker {
    node: Node,
    client: Client,
    ports: [u16; 5],
    /// Who vouches for it and for its clients.
    pub(crate) authority: Authority,
}

/// The broker in the hands of one case.
pub(crate) struct Held(MutexGuard<'static, Option<Broker>>);

static BROKER: Mutex<Option<Broker>> = Mutex::new(None);

/// The broker; the first case starts it, and one has it at a time.
///
/// # Errors
/// When it can't be started.
pub(crate) fn broker() -> Result<Held, Failed> {
    let mut broker = BROKER.lock().unwrap_or_else(PoisonError::into_inner);
    if broker.is_none() {
        *broker = Some(Broker::prepare()?);
    }
    let mut held = Held(broker);
    if !held.node.runs() {
        held.start()?;
    }
    Ok(held)
}

// === impl Held ===

impl Deref for Held {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        self.0.as_ref().expect("broker() made it")
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Broker {
        self.0.as_mut().expect("broker() made it")
    }
}

// === impl Broker ===

impl Deref for Broker {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Broker {
    fn prepare() -> Result<Self, Failed> {
        let node = Node::new(NAME)?;
        let mut ports = [0; 5];
        for port in &mut ports {
            *port = server::free_port()?;
        }
        let authority = Authority::new();
        let [certificate, key] = authority.server("localhost");
        let bundle = [key, certificate, authority.pem.clone()].concat();
        fs::write(node.folder.join("bundle.pem"), bundle)?;
        fs::write(node.folder.join("ca.pem"), &authority.pem)?;
        let client = Client { servers: format!("127.0.0.1:{}", ports[0]), replicas: 1 };
        let broker = Self { node, client, ports, authority };
        let scram = format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]");
        broker.node.format(&broker.properties(), &["-S", &scram])?;
        Ok(broker)
    }

    fn properties(&self) -> String {
        let [plain, controller, tls, login, mutual] = self.ports;
        let folder = self.node.folder.display();
        format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SSL://127.0.0.1:{tls},SASL_SSL://127.0.0.1:{login},MTLS://127.0.0.1:{mutual}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SSL://localhost:{tls},SASL_SSL://localhost:{login},MTLS://localhost:{mutual}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,MTLS:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
# Messages have the times of their records, which may be years old: nothing is to go for its age.
log.retention.ms=-1
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
ssl.keystore.type=PEM
ssl.keystore.location={folder}/bundle.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.mtls.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_flow=\"secret\";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"
        )
    }

    fn java(&self, class: &str) -> Command {
        self.node.java(class)
    }

    /// Starts it, on the same ports and data as before, and waits until it answers.
    ///
    /// # Errors
    /// When it doesn't: with the end of its log.
    pub(crate) fn start(&mut self) -> Result<(), Failed> {
        self.node.launch()?;
        let client = &self.client;
        self.node.ready(|| client.brokers() > 0)
    }

    /// Kills it with -9 and waits until it has gone.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub(crate) fn kill(&mut self) -> Result<(), Failed> {
        self.node.kill()
    }

    /// Where it listens in the clear.
    pub(crate) fn plain(&self) -> String {
        self.client.servers.clone()
    }

    /// Where it listens with TLS.
    pub(crate) fn tls(&self) -> String {
        format!("localhost:{}", self.ports[2])
    }

    /// Where it listens with TLS and asks for a login.
    pub(crate) fn login(&self) -> String {
        format!("localhost:{}", self.ports[3])
    }

    /// Where it listens with TLS and asks for a certificate.
    pub(crate) fn mutual(&self) -> String {
        format!("localhost:{}", self.ports[4])
    }

    /// Deletes what is below an offset, as a topic's retention does.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(crate) fn delete_before(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), Failed> {
        let wanted = json!({
            "partitions": [{"topic": topic, "partition": partition, "offset": offset}],
            "version": 1,
        });
        let file = self.node.folder.join("tmp/delete.json");
        fs::write(&file, wanted.to_string())?;
        let mut tool = self.java("org.apache.kafka.tools.DeleteRecordsCommand");
        tool.args(["--bootstrap-server", &self.plain(), "--offset-json-file"]).arg(file);
        process::output(&mut tool).map(drop)
    }

    /// Gives a user a password, by Kafka's own tool.
    ///
    /// # Errors
    /// When it fails: with its words.
    pub(crate) fn add_user(&self, user: &str, password: &str) -> Result<(), Failed> {
        let login = format!("SCRAM-SHA-512=[password={password}]");
        let mut tool = self.java("kafka.admin.ConfigCommand");
        tool.args(["--bootstrap-server", &self.plain(), "--alter", "--add-config", &login]);
        process::output(tool.args(["--entity-type", "users", "--entity-name", user])).map(drop)
    }

    /// Takes a right to a topic away from a user, or gives it back.
    ///
    /// # Errors
    /// When the tool fails: with its words.
    pub(crate) fn deny(
        &self,
        user: &str,
        operation: &str,
        topic: &str,
        denied: bool,
    ) -> Result<(), Failed> {
        let mut tool = self.java("org.apache.kafka.tools.AclCommand");
        let change: &[&str] = if denied { &["--add"] } else { &["--remove", "--force"] };
        tool.args(["--bootstrap-server", &self.plain()]).args(change);
        tool.args(["--deny-principal", &format!("User:{user}"), "--operation", operation]);
        process::output(tool.args(["--topic", topic])).map(drop)
    }
}
