//! Whether addresses are rewritten in our network namespace: then a packet that meets no socket here may meet one
//! elsewhere, behind a rule.
//!
//! Sources: `linux/netlink.h`, `linux/netfilter/nfnetlink.h`, `linux/netfilter/nf_tables.h`; the tables of
//! legacy iptables by `ip_tables_names` in procfs.

use std::{fs, io, time::Duration};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{NETFILTER, SocketAddrNetlink},
        recv, sendto, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

/// Longest wait for an answer of the kernel, which answers at once.
const PATIENCE: Duration = Duration::from_secs(1);
const HEADER: usize = 16;
/// `nfgenmsg` behind the header.
const FAMILY: usize = 4;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NFNL_SUBSYS_NFTABLES << 8`, and `NFT_MSG_NEWCHAIN`, `NFT_MSG_GETCHAIN` in it.
const NEW_CHAIN: u16 = 0x0a03;
const GET_CHAIN: u16 = 0x0a04;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NFTA_CHAIN_TYPE`.
const CHAIN_TYPE: u16 = 7;

/// What an answer says so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// A chain rewrites addresses.
    Rewrites,
    /// None yet, and more is to come.
    More,
    /// None.
    None,
    /// The kernel refuses, with this code.
    Refused(i32),
}

/// Whether there is a chain or a table for rewriting addresses, of whatever tool; an empty one counts.
///
/// # Errors
/// If the kernel does not say.
pub fn has_nat() -> io::Result<bool> {
    for names in ["/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"]
    {
        let tables = fs::read_to_string(names).unwrap_or_default();
        if tables.lines().any(|table| table == "nat") {
            return Ok(true);
        }
    }
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    sendto(&socket, &request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, length)) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        match read(buffer.get(..length).unwrap_or_default()) {
            Answer::More => {}
            Answer::Rewrites => return Ok(true),
            Answer::None => return Ok(false),
            // A kernel without nf_tables has no chains.
            Answer::Refused(code) => match Errno::from_raw_os_error(code) {
                Errno::OPNOTSUPP | Errno::INVAL | Errno::NOENT => return Ok(false),
                error => return Err(error.into()),
            },
        }
    }
}

/// Asks for all chains, of all families.
fn request() -> Vec<u8> {
    let length = HEADER + FAMILY;
    let mut message = u32::try_from(length).unwrap_or(0).to_ne_bytes().to_vec();
    message.extend(GET_CHAIN.to_ne_bytes());
    message.extend(DUMP.to_ne_bytes());
    message.resize(length, 0);
    message
}

fn read(mut bytes: &[u8]) -> Answer {
    while let (Some(length), Some(kind)) = (long(bytes, 0), short(bytes, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEADER || length > bytes.len() {
            break;
        }
        let (message, rest) = bytes.split_at(length);
        match kind {
            DONE => return Answer::None,
            ERROR => {
                let code = long(message, HEADER).map_or(0, u32::cast_signed);
                return Answer::Refused(code.saturating_neg());
            }
            NEW_CHAIN if rewrites(message.get(HEADER + FAMILY..).unwrap_or_default()) => {
                return Answer::Rewrites;
            }
            _ => {}
        }
        bytes = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
    }
    Answer::More
}

/// Whether attributes of a chain say that it is one for rewriting addresses.
fn rewrites(mut attributes: &[u8]) -> bool {
    while let (Some(length), Some(kind)) = (short(attributes, 0), short(attributes, 2)) {
        let length = usize::from(length);
        if length < 4 || length > attributes.len() {
            return false;
        }
        let (attribute, rest) = attributes.split_at(length);
        if kind & 0x3fff == CHAIN_TYPE && attribute.get(4..) == Some(b"nat\0") {
            return true;
        }
        attributes = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
    }
    false
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(payload);
        bytes
    }

    fn chain(kind: &[u8]) -> Vec<u8> {
        let attributes = [attribute(3, b"prerouting\0"), attribute(CHAIN_TYPE, kind)].concat();
        message(NEW_CHAIN, &[&[2, 0, 0, 0][..], &attributes].concat())
    }

    #[test]
    fn a_chain_of_the_type_nat_rewrites_and_one_that_filters_does_not() {
        let filter = chain(b"filter\0");
        assert_eq!(read(&filter), Answer::More);
        assert_eq!(read(&[filter.clone(), message(DONE, &[0; 4])].concat()), Answer::None);
        assert_eq!(read(&[filter, chain(b"nat\0")].concat()), Answer::Rewrites);
        assert_eq!(read(&message(ERROR, &(-1_i32).to_ne_bytes())), Answer::Refused(1));
        assert_eq!(request().len(), 20);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
            rewrites(&bytes);
        }

        #[test]
        fn a_cut_answer_says_nothing_that_the_whole_does_not(cut in 0_usize..200) {
            let whole = [chain(b"filter\0"), chain(b"nat\0"), message(DONE, &[0; 4])].concat();
            let said = read(&whole[..cut.min(whole.len())]);
            prop_assert!(matches!(said, Answer::More | Answer::Rewrites));
        }
    }
}
