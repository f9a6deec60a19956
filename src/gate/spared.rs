//! Whom a gate never blocks, and why, as its daemon writes it down for the command line:
//! `DATA_DIR/verdicts-SOURCE.protected`.
//!
//! The kernel's allow list has the same networks without the reasons, so that an entry of the allow list, which a
//! verdict may lie around, can't be told there from a sink's server. It has the last word: what stands in the file and
//! not in the kernel is of an earlier time, and does not count.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::Protected;
use crate::networks::{Entry, NetworkMap, Networks};

/// Bytes of a file that are read; two full allow lists take less.
const MAX_BYTES: u64 = 16 << 20;

/// Whom a gate never blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// No verdict may touch these.
    protected: Vec<Named>,
    /// The allow list: it passes, whatever verdict lies around it.
    allowed: Vec<Named>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    network: IpNet,
    /// `a sink writes to 192.0.2.9`; of the allow list, where the entry stands.
    why: Box<str>,
}

// === impl Spared ===

impl Spared {
    /// Where that of a source is.
    pub fn path(data_dir: &Path, source: &str) -> PathBuf {
        data_dir.join(format!("verdicts-{source}.protected"))
    }

    /// These, the allow list, and where sinks write to.
    pub(super) fn of(protected: &Protected, networks: &Networks) -> Self {
        let named = |(network, why): (IpNet, Box<str>)| Named { network, why };
        let place = |(network, entry): &(IpNet, Entry)| (*network, entry.place.as_str().into());
        Self {
            protected: protected.with_destinations(networks).map(named).collect(),
            allowed: networks.allow.iter().map(place).map(named).collect(),
        }
    }

    /// What the daemon wrote last.
    ///
    /// # Errors
    /// If there is none, or it can't be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        // Whoever owns the folder is not to keep a command of root waiting, or to have it read something else.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let flags = flags.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    /// As the file has it.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Adds to what a command knows by itself, its own host's `protected` and the `networks` of a config, what the
    /// kernel's allow list holds, with the reasons from here. Gives also what nothing explains.
    pub fn complete(
        self,
        protected: Protected,
        networks: Networks,
        kernel: Vec<IpNet>,
    ) -> (Protected, Networks, Vec<IpNet>) {
        let kernel: BTreeSet<_> = kernel.into_iter().collect();
        let holds = |named: &Named| kernel.contains(&named.network.trunc());
        let told = self.protected.into_iter().filter(holds);
        let protected = protected.and_these(told.map(|named| (named.network.trunc(), named.why)));
        let entry = |place: &str| Entry { place: place.to_owned(), ..Entry::default() };
        let allowed = self.allowed.iter().filter(|named| holds(named));
        let allowed = allowed.map(|named| (named.network.trunc(), entry(&named.why)));
        let mut allow: Vec<_> = networks.allow.iter().cloned().chain(allowed).collect();
        let known: BTreeSet<_> =
            allow.iter().map(|(network, _)| *network).chain(protected.networks()).collect();
        let unexplained: Vec<_> = kernel.difference(&known).copied().collect();
        let place = "the gate's allow list";
        allow.extend(unexplained.iter().map(|network| (*network, entry(place))));
        let networks = Networks { allow: NetworkMap::new(allow), ..networks };
        (protected, networks, unexplained)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{host::Facts, verdict::Refusal};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn of_a_daemon() -> (Spared, Vec<IpNet>) {
        let facts = Facts {
            addresses: vec!["192.0.2.1".parse().unwrap()],
            administrators: vec!["198.51.100.9".parse().unwrap()],
            ..Facts::default()
        };
        let entry = Entry { place: "networks.allow[0]".to_owned(), ..Entry::default() };
        let networks = Networks {
            allow: NetworkMap::new([(net("203.0.113.5/32"), entry)]),
            destinations: [net("203.0.113.80/32"), net("2001:db8::80/128")].into_iter().collect(),
            ..Networks::default()
        };
        let protected = Protected::of(&facts);
        (Spared::of(&protected, &networks), protected.and(&networks))
    }

    /// What a command elsewhere, that knows of nothing itself, says to a verdict.
    fn says(spared: Spared, kernel: Vec<IpNet>, network: &str) -> (Option<String>, Vec<IpNet>) {
        let (protected, networks, unexplained) =
            spared.complete(Protected::default(), Networks::default(), kernel);
        let refusal = protected.refusal(net(network), &networks);
        (refusal.as_ref().map(Refusal::to_string), unexplained)
    }

    #[test]
    fn a_command_refuses_what_the_daemon_would_take_back_and_says_why() {
        let (spared, kernel) = of_a_daemon();
        for (network, why) in [
            ("203.0.113.64/26", Some("a sink writes to 203.0.113.80")),
            ("203.0.113.80/32", Some("a sink writes to 203.0.113.80")),
            ("2001:db8::/32", Some("a sink writes to 2001:db8::80")),
            ("198.51.100.0/24", Some("an administrator's session is 198.51.100.9")),
            ("192.0.2.0/24", Some("an address of this host is 192.0.2.1")),
            ("203.0.113.5/32", Some("is allowed (networks.allow[0])")),
            ("203.0.113.0/27", None),
        ] {
            let read = serde_json::from_slice(&spared.bytes()).unwrap();
            let (refusal, unexplained) = says(read, kernel.clone(), network);
            match why {
                Some(why) => assert!(refusal.as_ref().unwrap().contains(why), "{refusal:?}"),
                None => assert_eq!(refusal, None, "{network} lies around an entry of the list"),
            }
            assert!(unexplained.is_empty(), "{unexplained:?}");
        }
    }

    #[test]
    fn what_the_kernel_no_longer_has_is_of_an_earlier_time() {
        let (spared, mut kernel) = of_a_daemon();
        kernel.retain(|network| *network != net("203.0.113.80/32"));
        kernel.push(net("203.0.113.99/32"));
        let (refusal, unexplained) = says(spared, kernel, "203.0.113.64/26");
        assert_eq!(refusal, None);
        assert_eq!(unexplained, [net("203.0.113.99/32")], "it came later");
    }

    #[test]
    fn what_nothing_explains_passes_as_before_and_is_named() {
        let (_, kernel) = of_a_daemon();
        let (refusal, unexplained) = says(Spared::default(), kernel.clone(), "203.0.113.80/32");
        assert!(refusal.unwrap().contains("is allowed (the gate's allow list)"));
        assert!(unexplained.contains(&net("203.0.113.80/32")));
        // Of its own host a command knows by itself.
        let own = Facts { addresses: vec!["192.0.2.1".parse().unwrap()], ..Facts::default() };
        let (protected, networks, unexplained) =
            Spared::default().complete(Protected::of(&own), Networks::default(), kernel);
        assert!(!unexplained.contains(&net("192.0.2.1/32")));
        let refusal = protected.refusal(net("192.0.2.1/32"), &networks).unwrap();
        assert!(matches!(refusal, Refusal::NeverBlocked { .. }), "{refusal}");
    }

    #[test]
    fn what_is_no_file_of_ours_is_an_error_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = Spared::path(folder.path(), "gate");
        let error = |path: &Path| Spared::read(path).unwrap_err();
        assert_eq!(error(&path).kind(), io::ErrorKind::NotFound);
        for torn in
            [&b""[..], b"{", b"{\"protected\":[{\"network\":\"10.0.0.0/99\",\"why\":\"\"}]}"]
        {
            std::fs::write(&path, torn).unwrap();
            error(&path);
        }
        std::fs::remove_file(&path).unwrap();
        let (spared, _) = of_a_daemon();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, spared.bytes()).unwrap();
        assert_eq!(Spared::read(&elsewhere).unwrap(), spared);
        symlink(&elsewhere, &path).unwrap();
        error(&path);
        std::fs::remove_file(&path).unwrap();
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, 0o600.into(), 0).unwrap();
        error(&path);
    }
}
