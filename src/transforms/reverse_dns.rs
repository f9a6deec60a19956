//! `reverse_dns`: packets, flows and alerts get the names of their addresses, in the order they came.
//!
//! Batches wait in a bounded queue while [`Resolver`] asks beside them;
//! what has no name by its deadline goes on without.

mod naming;
mod queue;

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use self::{
    naming::NameQuery,
    queue::{Queue, Waiting},
};
use crate::{
    ack::{Ack, End},
    batch::Batch,
    component::{
        Carries, Clock, Component, Configure, Context, Error, Input, Need, Outputs, Port, Problem,
        Signature, Stage,
    },
    dns::{
        self, Answer, Directory, Failure, Options, PassiveNames, Private, Question, Resolver,
        Server,
    },
    metrics::{DNS_LOOKUPS, Lookup},
    record::{HostNames, Kind, Kinds, Packet, Records},
    task,
};

/// `max_wait_ms` at most: longer, and the queue's bound decides rather than the time.
const MAX_WAIT_MS: u64 = 60_000;

/// Adds the names of addresses to packets, flows and alerts: from DNS answers in the same capture,
/// else by reverse look-up. Never holds records up for longer than `max_wait_ms`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Resolvers to ask, as ADDRESS or ADDRESS:PORT. By default those of /etc/resolv.conf. For
    /// whoever has a resolver for this purpose; it sees every public address in the traffic.
    #[schemars(with = "Vec<String>")]
    pub resolvers: Vec<Server>,
    /// What becomes of private and special addresses (RFC 6303, 7793, 6890): `skip` by default, or
    /// the ADDRESS or ADDRESS:PORT of an internal resolver, which alone is asked for them.
    #[schemars(with = "String")]
    pub private: Private,
    /// Networks whose addresses may be asked for (CIDR). All by default.
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// Networks whose addresses are never asked for (CIDR), even if allowed. None by default.
    #[schemars(with = "Vec<String>")]
    pub deny: Vec<IpNet>,
    /// Milliseconds of wall time for which a record waits for its names, 500 by default, 60,000 at
    /// most; with 0 only names that are known already are added. A replay waits for the answer or
    /// the resolver's time-out. For whoever needs records sooner, or has a slow resolver.
    #[schemars(range(max = MAX_WAIT_MS))]
    pub max_wait_ms: u64,
    /// Addresses whose answers are remembered, 65,536 by default, at least 1; those used least are
    /// forgotten first. Some 200 bytes each. `passive` remembers as many again, each address once for
    /// every client that asked and once for the others, mostly with one name and with four at most.
    #[schemars(range(min = 1))]
    pub max_entries: u32,
    /// Addresses asked for a second, 1,000 by default, at least 1, and as many at once; each takes a
    /// question, and with `forward_confirm` one more for each of its first two names. What exceeds it
    /// is asked for later, for the records to come.
    #[schemars(range(min = 1))]
    pub rate_limit_per_sec: u32,
    /// Whether a name counts only if its own addresses hold the address it was found for (on by
    /// default); of several names the first two in alphabetical order are put to the test. Other names
    /// are kept apart as unverified, and so are all if this is off: whoever owns a reverse zone can
    /// write any name into it.
    pub forward_confirm: bool,
    /// Whether names are learnt from DNS answers among the packets this component reads (on by
    /// default). They go before `ptr`. A name counts for the client that asked for it, in records that
    /// began after its answer; in others it is unverified, for any client may ask a server of its own
    /// for any name. Needs the fields dns.qry.name, dns.a, dns.aaaa, dns.count.answers and
    /// dns.resp.type in the `tshark` source and in `extract` (or `dissect: headers` there, which has
    /// them of DNS over UDP), and a `snaplen` that leaves DNS answers whole (512 does for most). With
    /// dns.id, too, an answer must have its question's number.
    pub passive: bool,
    /// Whether PTR records are asked for (on by default). Off, nothing is sent.
    pub ptr: bool,
    /// What becomes of packets among the inputs: `name` by default. With `learn` they end here, read
    /// only for `passive`: so flows get passive names, by `inputs: [flows, packets]`.
    pub packets: Packets,
}

/// What becomes of packets among the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Packets {
    /// They get names and go on.
    #[default]
    Name,
    /// They are read for DNS answers and go no further.
    Learn,
}

struct ReverseDns {
    clock: Clock,
    max_wait: Duration,
    packets: Packets,
    passive: Option<PassiveNames>,
    directory: Directory,
    resolver: Option<Resolver>,
    lookups: JoinSet<Answer>,
    questions: HashMap<Id, Question>,
    queue: Queue,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            private: Private::Skip,
            allow: Vec::new(),
            deny: Vec::new(),
            max_wait_ms: 500,
            max_entries: 65_536,
            rate_limit_per_sec: 1000,
            forward_confirm: true,
            passive: true,
            ptr: true,
            packets: Packets::Name,
        }
    }
}

impl Config {
    fn resolver(&self) -> Result<Option<Resolver>, dns::Error> {
        let build = || Resolver::new(&self.resolvers, self.private, self.forward_confirm);
        self.ptr.then(build).transpose()
    }
}

impl Configure for Config {
    fn signature(&self) -> Signature {
        Signature::transform(Kinds::with_names(), Carries::Inputs)
    }

    fn memory_bytes(&self) -> u64 {
        queue::MAX_BYTES as u64
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, message: String, hint: &str| {
            problems.push(Problem::new(key, message).hint(hint));
        };
        if !self.ptr && !self.passive {
            let message = "with ptr and passive both off there is no source of names".into();
            problem("ptr", message, "turn one of them on, or leave the component out");
        }
        if self.packets == Packets::Learn && !self.passive {
            let message = "packets can't be learnt from with passive off".into();
            problem("packets", message, "`passive: true`, or leave packets out of the inputs");
        }
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        let built = self.resolver();
        built.err().map(|error| Problem::new("resolvers", error.to_string())).into_iter().collect()
    }

    /// Nothing unless packets are there only to be learnt from: without the fields, `passive` finds
    /// nothing, and names come from PTR records.
    fn needs(&self) -> Vec<Need> {
        let need = |field: &str| Need { key: "packets".into(), field: field.to_owned() };
        match self.packets {
            Packets::Learn => dns::FIELDS.into_iter().map(need).collect(),
            Packets::Name => Vec::new(),
        }
    }

    fn uses(&self) -> Vec<String> {
        let fields = dns::ALL_FIELDS.into_iter().filter(|_| self.passive);
        fields.map(str::to_owned).collect()
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        let resolver = self.resolver().map_err(|error| {
            Error::configuration("reverse_dns has no resolver to ask").because(error)
        })?;
        Ok(Component::stage(ReverseDns::new(self, resolver, context.clock)))
    }
}

// === impl ReverseDns ===

impl ReverseDns {
    fn new(config: &Config, resolver: Option<Resolver>, clock: Clock) -> Self {
        let max_entries = config.max_entries.max(1) as usize;
        let options = Options {
            ask: config.ptr,
            private: matches!(config.private, Private::Ask(_)),
            allow: config.allow.iter().copied().collect(),
            deny: config.deny.iter().copied().collect(),
            max_entries,
            rate_limit_per_sec: config.rate_limit_per_sec,
        };
        Self {
            clock,
            max_wait: Duration::from_millis(config.max_wait_ms),
            packets: config.packets,
            passive: config.passive.then(|| PassiveNames::new(max_entries)),
            directory: Directory::new(options),
            resolver,
            lookups: JoinSet::new(),
            questions: HashMap::new(),
            queue: Queue::default(),
        }
    }

    /// Sends the questions that may be sent now. Gives the time when to call again, if there is one.
    fn send(&mut self) -> Option<Instant> {
        let resolver = self.resolver.as_ref()?;
        loop {
            match self.directory.next(Instant::now().into_std()) {
                Ok(question) => {
                    let resolver = resolver.clone();
                    let lookup =
                        task::spawn_on(
                            &mut self.lookups,
                            async move { resolver.ask(question).await },
                        );
                    self.questions.insert(lookup.id(), question);
                }
                Err(again) => return again.map(Instant::from_std),
            }
        }
    }

    fn answered(&mut self, ended: Result<(Id, Answer), JoinError>) {
        // A look-up that panicked has no answer, but its address must not be waited for for ever.
        let (id, answer) =
            ended.unwrap_or_else(|error| (error.id(), Answer::Failed(Failure::Refused)));
        if let Some(question) = self.questions.remove(&id) {
            self.directory.answered(question, answer, Instant::now().into_std());
        }
    }

    /// Whether a further batch may be read. Live always: a full queue lets its first batch go.
    fn has_room(&self) -> bool {
        match self.clock {
            Clock::Wall => true,
            Clock::Event => !self.queue.is_full(),
        }
    }

    /// Takes a batch in, and asks for what is not known of its addresses.
    fn take(&mut self, batch: Batch, input: &Input) {
        if let (Some(passive), Records::Packets(packets)) = (&mut self.passive, &batch.records) {
            packets.iter().for_each(|packet: &Packet| passive.learn(packet));
        }
        let batch = match (&batch.records, self.packets) {
            (Records::Packets(packets), Packets::Learn) => {
                input.meter().absorbed(packets.len() as u64);
                batch.ack.settle(End::Delivered);
                let records = Records::none(Kind::Packet);
                Batch { records, ack: Ack::none(), watermark: batch.watermark }
            }
            _ => batch,
        };
        let arrived = Instant::now();
        let mut missing = Vec::new();
        naming::addresses(&batch.records, |query| {
            let address = query.address;
            if asked_for(self.passive.as_ref(), query).is_some() {
                self.directory.count(Lookup::Passive);
            } else if missing.last() != Some(&address)
                && self.directory.want(address, arrived.into_std())
            {
                missing.push(address);
            }
        });
        missing.sort_unstable();
        missing.dedup();
        let deadline = match self.clock {
            Clock::Wall => Some(arrived + self.max_wait),
            Clock::Event => None,
        };
        self.queue.push(Waiting { batch, missing, deadline });
    }

    /// Hands on every batch at the front that need not or must not wait any longer. Gives the time
    /// when the next one must go.
    async fn hand_on(&mut self, out: &Outputs) -> Result<Option<Instant>, Error> {
        loop {
            let live = self.clock == Clock::Wall;
            let awaits = |address: IpAddr| self.directory.awaits(address);
            match self.queue.pop(Instant::now(), live, awaits) {
                Ok(Waiting { mut batch, .. }) => {
                    let (passive, now) = (self.passive.as_ref(), Instant::now().into_std());
                    naming::name(&mut batch.records, |query| {
                        let NameQuery { address, time, .. } = query;
                        asked_for(passive, query)
                            .or_else(|| self.directory.names(address, now))
                            .or_else(|| passive?.unverified(address, time))
                            .cloned()
                    });
                    out.pass(Port::MAIN, batch).await?;
                }
                Err(deadline) => return Ok(deadline),
            }
        }
    }
}

/// The name under which the other side asked for an address.
fn asked_for(passive: Option<&PassiveNames>, query: NameQuery) -> Option<&Arc<HostNames>> {
    passive?.names(query.address, query.peer?, query.time)
}

impl Stage for ReverseDns {
    async fn run(mut self, mut input: Input, out: Outputs) -> Result<(), Error> {
        let mut ended = false;
        loop {
            let deadline = self.hand_on(&out).await?;
            for (lookup, count) in self.directory.take_counts() {
                out.meter().count(DNS_LOOKUPS, lookup, count);
            }
            if ended && self.queue.is_empty() {
                return Ok(());
            }
            let again = self.send();
            let wake = deadline.into_iter().chain(again).min();
            tokio::select! {
                batch = input.recv(), if !ended && self.has_room() => match batch {
                    Some(batch) => {
                        self.take(batch, &input);
                    }
                    None => ended = true,
                },
                Some(answer) = self.lookups.join_next_with_id() => self.answered(answer),
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
