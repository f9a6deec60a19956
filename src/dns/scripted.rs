//! A DNS server on loopback that answers as a test's script says.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, PTR, SOA},
    },
};
use tokio::{net::UdpSocket, task::JoinHandle};

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These records.
    Records(Vec<Record>),
    /// No such name, with an SOA record of this TTL and minimum.
    NoName(u32, u32),
    /// No such name, without an SOA record.
    BareNoName,
    /// This response code.
    Code(ResponseCode),
    /// These bytes after the question's id.
    Bytes(Vec<u8>),
    /// Nothing.
    Silence,
    /// That, but later.
    Late(Duration, Box<Reply>),
}

/// The server; gone when dropped.
#[derive(Debug)]
pub(crate) struct Scripted {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// The value of a PTR record's TTL.
pub(crate) const TTL: u32 = 300;

/// A record with [`TTL`].
pub(crate) fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(owner).unwrap(), TTL, data)
}

/// A PTR record of `address`.
pub(crate) fn pointer(address: IpAddr, target: Name) -> Record {
    Record::from_rdata(Name::from(address), TTL, RData::PTR(PTR(target)))
}

/// The address record of a name.
pub(crate) fn host(owner: &str, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    record(owner, data)
}

/// An alias.
pub(crate) fn alias(owner: &str, target: &str) -> Record {
    record(owner, RData::CNAME(CNAME(Name::from_ascii(target).unwrap())))
}

// === impl Scripted ===

impl Scripted {
    /// Starts it with a script: the reply for a name (lower case, with its trailing dot) and a type.
    pub(crate) async fn start(
        script: impl Fn(&str, RecordType) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut bytes = [0; 4096];
            loop {
                let (length, client) = socket.recv_from(&mut bytes).await.unwrap();
                let question = Message::from_vec(&bytes[..length]).unwrap();
                let query = &question.queries[0];
                let name = query.name().to_ascii().to_lowercase();
                seen.lock().unwrap().push(format!("{name} {}", query.query_type()));
                let reply = script(&name, query.query_type());
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    if let Some(bytes) = answer(&question, reply).await {
                        socket.send_to(&bytes, client).await.unwrap();
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    /// The questions so far, as `NAME TYPE`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(question: &Message, reply: Reply) -> Option<Vec<u8>> {
    let id = question.metadata.id;
    let mut message = Message::response(id, OpCode::Query);
    message.add_query(question.queries[0].clone());
    message.metadata.recursion_available = true;
    match reply {
        Reply::Records(records) => {
            message.add_answers(records);
        }
        Reply::NoName(ttl, minimum) => {
            message.metadata.response_code = ResponseCode::NXDomain;
            let zone = Name::from_ascii("arpa.").unwrap();
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, minimum);
            message.add_authority(Record::from_rdata(zone, ttl, RData::SOA(soa)));
        }
        Reply::BareNoName => message.metadata.response_code = ResponseCode::NXDomain,
        Reply::Code(code) => message.metadata.response_code = code,
        Reply::Bytes(bytes) => return Some([&id.to_be_bytes()[..], &bytes].concat()),
        Reply::Silence => return None,
        Reply::Late(delay, reply) => {
            tokio::time::sleep(delay).await;
            return Box::pin(answer(question, *reply)).await;
        }
    }
    Some(message.to_vec().unwrap())
}
