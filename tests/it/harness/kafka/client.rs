//! What cases ask of brokers: topics, and what is in them.

use std::{collections::BTreeMap, time::Duration};

use libtest_mimic::Failed;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
    metadata::{MetadataPartition, MetadataTopic},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tokio::task::block_in_place;

use crate::harness::poll::{self, SOON};

/// How long a broker may take to answer, where it is asked again and again.
const ASK: Duration = Duration::from_secs(10);

/// Asks brokers that listen in the clear.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where they listen, with commas.
    pub(super) servers: String,
    /// How many of them have each partition.
    pub(super) replicas: i32,
}

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

/// The next message, if one comes soon. What is wrong for a while, as a connection that is lost, librdkafka tells
/// between messages, and goes on.
fn next(consumer: &BaseConsumer) -> Result<Option<BorrowedMessage<'_>>, KafkaError> {
    match consumer.poll(Duration::from_millis(100)) {
        Some(Ok(message)) => Ok(Some(message)),
        Some(Err(error)) if is_fatal(consumer, &error) => Err(error),
        Some(Err(_)) | None => Ok(None),
    }
}

/// Whether no further message can come.
fn is_fatal(consumer: &BaseConsumer, error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || consumer.client().fatal_error().is_some()
}

// === impl Client ===

impl Client {
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    /// How many brokers there are, as one of them says; none if there is no answer.
    pub(super) fn brokers(&self) -> usize {
        let asked = self.config().create().and_then(|asks: BaseConsumer| {
            let metadata = asks.fetch_metadata(None, ASK)?;
            Ok(metadata.brokers().len())
        });
        asked.unwrap_or(0)
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
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let new = NewTopic {
            name: topic,
            num_partitions: partitions,
            replication: TopicReplication::Fixed(self.replicas),
            config: settings.to_vec(),
        };
        let options = AdminOptions::new().request_timeout(Some(SOON)).operation_timeout(Some(SOON));
        for made in admin.create_topics([&new], &options).await? {
            made.map_err(|(topic, code)| format!("{topic}: {code}"))?;
        }
        // Made is not yet led.
        let partitions = usize::try_from(partitions)?;
        poll::until_answered("leaders of a new topic", SOON, async || {
            let leaders = block_in_place(|| self.leaders(topic)).ok()?;
            let are_there = leaders.len() == partitions && leaders.iter().all(|one| *one >= 0);
            are_there.then_some(())
        })
        .await
    }

    /// Deletes a topic with all that is in it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(crate) async fn delete(&self, topic: &str) -> Result<(), Failed> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
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
        self.produce_to(topic, None, payload)
    }

    /// The same, to a partition.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub(crate) fn produce_to(
        &self,
        topic: &str,
        partition: Option<i32>,
        payload: &[u8],
    ) -> Result<(), Failed> {
        let producer: BaseProducer = self.config().create()?;
        let to = BaseRecord::<(), [u8]>::to(topic).payload(payload);
        let record = BaseRecord { partition, ..to };
        producer.send(record).map_err(|(error, _)| error)?;
        Ok(producer.flush(SOON)?)
    }

    /// The leader of each of a topic's partitions, in their order; -1 where there is none.
    ///
    /// # Errors
    /// When no broker can be asked.
    pub(crate) fn leaders(&self, topic: &str) -> Result<Vec<i32>, Failed> {
        let consumer: BaseConsumer = self.config().create()?;
        let metadata = consumer.fetch_metadata(Some(topic), SOON)?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let mut leaders: Vec<_> = partitions.map(|one| (one.id(), one.leader())).collect();
        leaders.sort_unstable();
        Ok(leaders.into_iter().map(|(_, leader)| leader).collect())
    }

    /// How many members a consumer group has, and how it is: `Stable` if all of them are at work.
    ///
    /// # Errors
    /// When no broker can be asked.
    pub(crate) fn group(&self, group: &str) -> Result<(usize, String), Failed> {
        let consumer: BaseConsumer = self.config().create()?;
        let listed = consumer.fetch_group_list(Some(group), SOON)?;
        let found = listed.groups().iter().find(|one| one.name() == group);
        Ok(found.map_or((0, String::new()), |one| (one.members().len(), one.state().to_owned())))
    }

    /// How many messages a topic holds, all partitions together.
    ///
    /// # Errors
    /// When the broker can't be asked.
    pub(crate) fn ends(&self, topic: &str) -> Result<u64, Failed> {
        let consumer: BaseConsumer = self.config().create()?;
        let metadata = consumer.fetch_metadata(Some(topic), SOON)?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let mut sum = 0;
        for partition in partitions {
            let (_, end) = consumer.fetch_watermarks(topic, partition.id(), SOON)?;
            sum += u64::try_from(end)?;
        }
        Ok(sum)
    }

    /// All that a topic holds once it has so many records, or else what it holds after a while: what was acknowledged is
    /// there, and readers see it when the broker has moved its watermark. To be called as [`Self::read`].
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub(crate) fn read_of(&self, topic: &str, records: impl Into<u64>) -> Result<Content, Failed> {
        let (records, mut read) = (records.into(), self.read(topic));
        let has_all = |read: &Result<Content, Failed>| {
            read.as_ref().is_ok_and(|content| content.distinct().0 >= records)
        };
        if !has_all(&read) {
            poll::until_true("all records", SOON, || {
                read = self.read(topic);
                has_all(&read)
            })
            .unwrap_or_default();
        }
        read
    }

    /// All that a topic holds now. To be called off the runtime's own threads.
    ///
    /// # Errors
    /// When it can't be read to its end.
    pub(crate) fn read(&self, topic: &str) -> Result<Content, Failed> {
        let consumer: BaseConsumer = self
            .config()
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("check.crcs", "true")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(topic), SOON)?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let mut from = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        for partition in partitions.map(MetadataPartition::id) {
            let (_, end) = consumer.fetch_watermarks(topic, partition, SOON)?;
            from.add_partition_offset(topic, partition, Offset::Beginning)?;
            ends.insert(partition, end);
        }
        ends.retain(|_, end| *end > 0);
        consumer.assign(&from)?;
        let mut held = Content::default();
        while !ends.is_empty() {
            let message = poll::until("a message", SOON, || next(&consumer).transpose())??;
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
