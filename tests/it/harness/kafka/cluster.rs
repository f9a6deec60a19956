//! Three brokers that vote, each partition on all of them: leaders can move.

use std::ops::Deref;

use libtest_mimic::Failed;

use super::{NAME, client::Client, node::Node};
use crate::harness::{
    poll::{self, SOON},
    process, server,
};

/// Brokers with the ids 1, 2 and 3; killed when dropped.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    client: Client,
}

// === impl Cluster ===

impl Deref for Cluster {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Cluster {
    /// Starts it, and waits until all of them are in it.
    ///
    /// # Errors
    /// When they can't be started: with the end of a log.
    pub(crate) fn start() -> Result<Self, Failed> {
        let mut ports = [[0; 2]; 3];
        for port in ports.as_flattened_mut() {
            *port = server::free_port()?;
        }
        let list = |ports: &mut dyn Iterator<Item = String>| ports.collect::<Vec<_>>().join(",");
        let voters = list(
            &mut (1..)
                .zip(ports)
                .map(|(id, [_, controller])| format!("{id}@127.0.0.1:{controller}")),
        );
        let servers = list(&mut ports.iter().map(|[plain, _]| format!("127.0.0.1:{plain}")));
        let client = Client { servers, replicas: 3 };
        let mut cluster = Self { nodes: Vec::new(), client };
        for (id, [plain, controller]) in (1..).zip(ports) {
            let node = Node::new(&format!("{NAME}-{id}"))?;
            let folder = node.folder.display();
            let properties = format!(
                "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
# Leaders move when a case moves them.
auto.leader.rebalance.enable=false
log.retention.ms=-1
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
"
            );
            node.format(&properties, &[])?;
            cluster.nodes.push(node);
        }
        for node in &mut cluster.nodes {
            node.launch()?;
        }
        let client = &cluster.client;
        for node in &mut cluster.nodes {
            node.ready(|| client.brokers() == 3)?;
        }
        Ok(cluster)
    }

    /// Where they listen.
    pub(crate) fn servers(&self) -> String {
        self.client.servers.clone()
    }

    /// Kills a broker with -9, and waits until another one leads the first partition of `topic`.
    ///
    /// # Errors
    /// When there is no such broker, or none takes over.
    pub(crate) fn kill(&mut self, id: i32, topic: &str) -> Result<(), Failed> {
        self.node(id)?.kill()?;
        poll::until_true("another leader", SOON, || {
            self.leaders(topic)
                .is_ok_and(|leaders| leaders.iter().all(|leader| *leader > 0 && *leader != id))
        })
    }

    /// Starts a broker that was killed, and waits until it is in the cluster again.
    ///
    /// # Errors
    /// When it isn't: with the end of its log.
    pub(crate) fn start_again(&mut self, id: i32) -> Result<(), Failed> {
        self.node(id)?.launch()?;
        let Self { nodes, client } = self;
        let node = nodes.get_mut(usize::try_from(id)? - 1).ok_or("no such broker")?;
        node.ready(|| client.brokers() == 3)
    }

    /// Has each partition of `topic` led by the broker that led it first, while all of them live.
    ///
    /// # Errors
    /// When Kafka's tool fails, or the leaders stay as they are.
    pub(crate) fn lead_as_first(&mut self, topic: &str, first: &[i32]) -> Result<(), Failed> {
        poll::until_true("the first leaders again", SOON * 2, || {
            let node = self.nodes.first();
            // It fails as long as one of them is not in sync.
            let asked = node.map(|node| {
                let mut tool = node.java("org.apache.kafka.tools.LeaderElectionCommand");
                tool.args(["--bootstrap-server", &self.client.servers]);
                tool.args(["--election-type", "preferred", "--all-topic-partitions"]);
                process::output(&mut tool)
            });
            asked.is_some() && self.leaders(topic).is_ok_and(|leaders| leaders == first)
        })
    }

    fn node(&mut self, id: i32) -> Result<&mut Node, Failed> {
        let at = usize::try_from(id)?.checked_sub(1).ok_or("no such broker")?;
        self.nodes.get_mut(at).ok_or_else(|| "no such broker".into())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Err(failed) = node.kill() {
                eprintln!("a broker of the cluster: {:?}", failed.message());
            }
        }
    }
}
