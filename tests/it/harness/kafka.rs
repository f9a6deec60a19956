//! A real broker of Apache Kafka, started once a run on free ports: a plain listener, one with TLS, one with
//! TLS and a login, one that asks each client for its certificate.

use std::{
    collections::BTreeMap,
    fs,
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::{Child, Command},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libtest_mimic::Failed;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::{BorrowedMessage, Headers as _},
    metadata::{MetadataPartition, MetadataTopic},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::json;

use super::{
    certificates::Authority,
    poll::{self, SOON},
    process, server,
};

/// Its name in `scripts/test-backends`, and in the table of faults.
pub(crate) const NAME: &str = "kafka-4.3.1";
/// A login that is there from the beginning.
pub(crate) const USER: &str = "scram";
pub(crate) const PASSWORD: &str = "scram-secret";
/// From nothing to a broker that answers, on a busy machine.
const START: Duration = Duration::from_mins(3);
const ASK: Duration = Duration::from_secs(10);
/// Compiled once, quickly, as it lives for minutes only; less heap is too little.
const JAVA_OPTIONS: &[&str] = &[
    "-Xmx256m",
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// The broker.
pub(crate) struct Broker {
    java: PathBuf,
    libraries: PathBuf,
    folder: PathBuf,
    ports: [u16; 5],
    child: Option<Child>,
    /// Who vouches for it and for its clients.
    pub(crate) authority: Authority,
}

/// The broker in the hands of one case.
pub(crate) struct Held(MutexGuard<'static, Option<Broker>>);

/// What a topic holds.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// How often each record is there, by its id.
    pub(crate) copies: BTreeMap<String, u64>,
    /// The messages, in the order of their partitions.
    pub(crate) messages: Vec<Seen>,
}

/// A message as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) millis: Option<i64>,
    pub(crate) headers: BTreeMap<String, String>,
}

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
    if held.child.is_none() {
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

impl Broker {
    fn prepare() -> Result<Self, Failed> {
        let libraries = server::bring(NAME)?;
        let java = server::bring("jdk-17")?.join("bin/java");
        let folder = server::folder(NAME)?;
        for name in ["config", "tmp"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let mut ports = [0; 5];
        for port in &mut ports {
            *port = server::free_port()?;
        }
        let authority = Authority::new();
        let [certificate, key] = authority.server("localhost");
        fs::write(folder.join("bundle.pem"), [key, certificate, authority.pem.clone()].concat())?;
        fs::write(folder.join("ca.pem"), &authority.pem)?;
        let broker = Self { java, libraries, folder, ports, child: None, authority };
        fs::write(broker.config(), broker.properties())?;
        let scram = format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]");
        process::output(
            broker
                .java("kafka.tools.StorageTool")
                .args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-S", &scram, "-c"])
                .arg(broker.config()),
        )?;
        Ok(broker)
    }

    fn properties(&self) -> String {
        let [plain, controller, tls, login, mutual] = self.ports;
        let folder = self.folder.display();
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
broker.session.timeout.ms=2000
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

    fn config(&self) -> PathBuf {
        self.folder.join("config/server.properties")
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new(&self.java);
        command.args(JAVA_OPTIONS).arg("-cp").arg(self.libraries.join("*")).arg(class);
        command.current_dir(&self.folder);
        command
    }

    /// Starts it, on the same ports and data as before, and waits until it answers.
    ///
    /// # Errors
    /// When it doesn't: with the end of its log.
    pub(crate) fn start(&mut self) -> Result<(), Failed> {
        let log = self.folder.join("console.log");
        let mut command = self.java("kafka.Kafka");
        command.arg(self.config());
        let mut child = server::start(&mut command, &log)?;
        fs::write(server::pid_file(&self.folder), child.id().to_string())?;
        let asks: BaseConsumer = self.client().create()?;
        let ready = server::ready(NAME, &mut child, &log, START, || {
            asks.fetch_metadata(None, ASK).is_ok_and(|found| !found.brokers().is_empty())
        });
        self.child = Some(child);
        ready
    }

    /// Kills it with -9 and waits until it has gone.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub(crate) fn kill(&mut self) -> Result<(), Failed> {
        if let Some(mut child) = self.child.take() {
            server::kill(child.id());
            child.wait()?;
            server::ended(child.id());
        }
        Ok(())
    }

    /// Where it listens in the clear.
    pub(crate) fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
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

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.plain());
        config
    }

    /// Makes a topic, with further settings.
    ///
    /// # Errors
    /// When the broker refuses, or does not show it soon.
    pub(crate) async fn create(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), Failed> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let new = NewTopic {
            name: topic,
            num_partitions: partitions,
            replication: TopicReplication::Fixed(1),
            config: settings.to_vec(),
        };
        let options = AdminOptions::new().request_timeout(Some(SOON)).operation_timeout(Some(SOON));
        for made in admin.create_topics([&new], &options).await? {
            made.map_err(|(topic, code)| format!("{topic}: {code}"))?;
        }
        Ok(())
    }

    /// Deletes a topic with all that is in it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(crate) async fn delete(&self, topic: &str) -> Result<(), Failed> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let options = AdminOptions::new().request_timeout(Some(SOON)).operation_timeout(Some(SOON));
        for deleted in admin.delete_topics(&[topic], &options).await? {
            deleted.map_err(|(topic, code)| format!("{topic}: {code}"))?;
        }
        Ok(())
    }

    /// Writes a message as it is, without a key.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub(crate) fn produce(&self, topic: &str, payload: &[u8]) -> Result<(), Failed> {
        let producer: BaseProducer = self.client().create()?;
        let record = BaseRecord::<(), [u8]>::to(topic).payload(payload);
        producer.send(record).map_err(|(error, _)| error)?;
        Ok(producer.flush(SOON)?)
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
        let file = self.folder.join("tmp/delete.json");
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

    /// How many messages a topic holds, all partitions together.
    ///
    /// # Errors
    /// When the broker can't be asked.
    pub(crate) fn ends(&self, topic: &str) -> Result<u64, Failed> {
        let consumer: BaseConsumer = self.client().create()?;
        let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let mut sum = 0;
        for partition in partitions {
            let (_, end) = consumer.fetch_watermarks(topic, partition.id(), ASK)?;
            sum += u64::try_from(end)?;
        }
        Ok(sum)
    }

    /// All that a topic holds now. To be called off the runtime's own threads.
    ///
    /// # Errors
    /// When it can't be read to its end.
    pub(crate) fn read(&self, topic: &str) -> Result<Content, Failed> {
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("check.crcs", "true")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let mut from = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        for partition in partitions.map(MetadataPartition::id) {
            let (_, end) = consumer.fetch_watermarks(topic, partition, ASK)?;
            from.add_partition_offset(topic, partition, Offset::Beginning)?;
            ends.insert(partition, end);
        }
        ends.retain(|_, end| *end > 0);
        consumer.assign(&from)?;
        let mut held = Content::default();
        while !ends.is_empty() {
            let read =
                poll::until("a message", SOON, || consumer.poll(Duration::from_millis(100)))?;
            let message = read?;
            if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                ends.remove(&message.partition());
            }
            held.add(&message);
        }
        held.messages.sort_by_key(|message| message.partition);
        Ok(held)
    }
}

// === impl Content ===

impl Content {
    fn add(&mut self, message: &BorrowedMessage<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers: BTreeMap<String, String> = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter())
            .map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default())))
            .collect();
        let name = |key: &str| headers.get(key).cloned().unwrap_or_default();
        *self.copies.entry(format!("{} {}", name("id"), name("sequence"))).or_default() += 1;
        self.messages.push(Seen {
            partition: message.partition(),
            key: message.key().map(text),
            payload: message.payload().unwrap_or_default().to_vec(),
            millis: message.timestamp().to_millis(),
            headers,
        });
    }

    /// Distinct records, and copies beyond the first.
    pub(crate) fn distinct(&self) -> (u64, u64) {
        let distinct = self.copies.len() as u64;
        (distinct, self.copies.values().sum::<u64>() - distinct)
    }

    /// Adds what another topic, or the same one earlier, held.
    pub(crate) fn and(&mut self, other: Self) {
        for (id, copies) in other.copies {
            *self.copies.entry(id).or_default() += copies;
        }
        self.messages.extend(other.messages);
    }
}
