//! The signals of the judge: each is a rule of its own in alerts, with its place in MITRE ATT&CK.

/// What evidence a risk score is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Signal {
    /// First contacts that fail: a threshold random walk.
    #[default]
    Scan,
    /// TCP control bits that no sane stack sends.
    StealthFlags,
    /// TCP headers split over fragments.
    SplitHeader,
    /// ACKs to no connection.
    AckProbe,
    /// Short connections to a port where people log in.
    AuthAttempts,
    /// Echo requests to many hosts.
    IcmpSweep,
    /// More than the source's token bucket holds.
    Rate,
    /// Many connections to web servers on which nothing happens.
    IdleConnections,
    /// A (destination, port) whose handshakes are not completed.
    DestinationFlood,
}

/// A technique of MITRE ATT&CK, and the tactic it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Technique {
    /// `T1046`.
    pub id: &'static [&'static str],
    /// Its name.
    pub name: &'static [&'static str],
    /// `TA0007`.
    pub tactic_id: &'static [&'static str],
    /// The tactic's name.
    pub tactic: &'static [&'static str],
}

impl Technique {
    /// None.
    pub const NONE: Self = Self { id: &[], name: &[], tactic_id: &[], tactic: &[] };
}

const SERVICES: Technique = Technique {
    id: &["T1046"],
    name: &["Network Service Discovery"],
    tactic_id: &["TA0007"],
    tactic: &["Discovery"],
};
const BLOCKS: Technique = Technique {
    id: &["T1595.001"],
    name: &["Active Scanning: Scanning IP Blocks"],
    tactic_id: &["TA0043"],
    tactic: &["Reconnaissance"],
};
const SYSTEMS: Technique = Technique {
    id: &["T1018"],
    name: &["Remote System Discovery"],
    tactic_id: &["TA0007"],
    tactic: &["Discovery"],
};
const BRUTE_FORCE: Technique = Technique {
    id: &["T1110"],
    name: &["Brute Force"],
    tactic_id: &["TA0006"],
    tactic: &["Credential Access"],
};
const NETWORK_FLOOD: Technique = Technique {
    id: &["T1498"],
    name: &["Network Denial of Service"],
    tactic_id: &["TA0040"],
    tactic: &["Impact"],
};
const ENDPOINT_FLOOD: Technique = Technique {
    id: &["T1499"],
    name: &["Endpoint Denial of Service"],
    tactic_id: &["TA0040"],
    tactic: &["Impact"],
};

// === impl Signal ===

impl Signal {
    /// How many there are.
    pub const COUNT: usize = 9;

    /// All of them, each at its [`index`](Self::index).
    pub const ALL: [Self; Self::COUNT] = [
        Self::Scan,
        Self::StealthFlags,
        Self::SplitHeader,
        Self::AckProbe,
        Self::AuthAttempts,
        Self::IcmpSweep,
        Self::Rate,
        Self::IdleConnections,
        Self::DestinationFlood,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in configs and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::StealthFlags => "stealth_flags",
            Self::SplitHeader => "split_header",
            Self::AckProbe => "ack_probe",
            Self::AuthAttempts => "auth_attempts",
            Self::IcmpSweep => "icmp_sweep",
            Self::Rate => "rate",
            Self::IdleConnections => "idle_connections",
            Self::DestinationFlood => "destination_flood",
        }
    }

    /// The name of its rule, as people read it.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Scan => "Port or address scan",
            Self::StealthFlags => "Probes with odd TCP flags",
            Self::SplitHeader => "Split TCP headers",
            Self::AckProbe => "ACK probes",
            Self::AuthAttempts => "Login attempts",
            Self::IcmpSweep => "ICMP sweep",
            Self::Rate => "Packet rate",
            Self::IdleConnections => "Idle connections",
            Self::DestinationFlood => "Flooded destination",
        }
    }

    /// The rule's id.
    pub const fn rule_id(self) -> &'static str {
        match self {
            Self::Scan => "tidegate-scan",
            Self::StealthFlags => "tidegate-stealth-flags",
            Self::SplitHeader => "tidegate-split-header",
            Self::AckProbe => "tidegate-ack-probe",
            Self::AuthAttempts => "tidegate-auth-attempts",
            Self::IcmpSweep => "tidegate-icmp-sweep",
            Self::Rate => "tidegate-rate",
            Self::IdleConnections => "tidegate-idle-connections",
            Self::DestinationFlood => "tidegate-destination-flood",
        }
    }

    /// Its section in docs/scoring.md.
    pub const fn reference(self) -> &'static str {
        match self {
            Self::Scan => "docs/scoring.md#scan",
            Self::StealthFlags => "docs/scoring.md#stealth_flags",
            Self::SplitHeader => "docs/scoring.md#split_header",
            Self::AckProbe => "docs/scoring.md#ack_probe",
            Self::AuthAttempts => "docs/scoring.md#auth_attempts",
            Self::IcmpSweep => "docs/scoring.md#icmp_sweep",
            Self::Rate => "docs/scoring.md#rate",
            Self::IdleConnections => "docs/scoring.md#idle_connections",
            Self::DestinationFlood => "docs/scoring.md#destination_flood",
        }
    }

    /// What kind of attack it speaks of.
    pub const fn category(self) -> &'static str {
        match self {
            Self::Scan
            | Self::StealthFlags
            | Self::SplitHeader
            | Self::AckProbe
            | Self::IcmpSweep => "reconnaissance",
            Self::AuthAttempts => "credential_access",
            Self::Rate | Self::IdleConnections | Self::DestinationFlood => "denial_of_service",
        }
    }

    /// Its technique, by a source that is inside or outside.
    pub const fn technique(self, from_inside: bool) -> Technique {
        match self {
            Self::Scan if !from_inside => BLOCKS,
            Self::Scan | Self::StealthFlags | Self::SplitHeader | Self::AckProbe => SERVICES,
            Self::AuthAttempts => BRUTE_FORCE,
            Self::IcmpSweep => SYSTEMS,
            Self::Rate | Self::DestinationFlood => NETWORK_FLOOD,
            Self::IdleConnections => ENDPOINT_FLOOD,
        }
    }

    /// Whether a sender that is nobody can make it speak against the address it uses.
    pub const fn is_spoofable(self) -> bool {
        !matches!(self, Self::AuthAttempts | Self::IdleConnections)
    }
}
