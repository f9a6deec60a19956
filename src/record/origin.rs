//! Where a record was observed: a source and, where it has several, an interface of its own.
//!
//! A record carries a small number; what it stands for is kept once for the process. The numbers are
//! given out in the order of asking, so nothing that is written or hashed may depend on them: that
//! takes the [names](ObservationPoint::names) or the [mark](ObservationPoint::mark) made of them.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// An observation point (RFC 7011 section 2): where packets were seen. The default is an unnamed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ObservationPoint(u16);

/// What an observation point's number stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PointNames {
    /// The id of the source that read the packets; empty for the unnamed point.
    pub source: Arc<str>,
    /// The interface they were captured on, if it is known.
    pub interface: Option<Interface>,
    /// The sensor, if it is another one than this. The mark is made without it.
    pub observer: Option<Arc<str>>,
}

/// An interface of a sensor or of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interface {
    /// By its name.
    Named(Arc<str>),
    /// By its number in a capture that doesn't name it, from 0.
    Numbered(u32),
}

/// The points given out so far.
#[derive(Debug, Default)]
struct Points {
    all: Vec<(PointNames, u64)>,
    numbers: HashMap<PointNames, u16>,
}

static POINTS: RwLock<Option<Points>> = RwLock::new(None);

/// Whether there is any point of another sensor: most processes have none, and need not look.
static HAS_OTHERS: AtomicBool = AtomicBool::new(false);

// === impl ObservationPoint ===

impl ObservationPoint {
    /// The point of a source and, if it is known, an interface. After 65,535 different ones every
    /// further one is the unnamed point.
    pub fn of(source: &str, interface: Option<Interface>) -> Self {
        Self::named(PointNames { source: source.into(), interface, observer: None })
    }

    /// The same point of another sensor.
    #[must_use]
    pub fn seen_by(self, observer: &Arc<str>) -> Self {
        HAS_OTHERS.store(true, Ordering::Relaxed);
        Self::named(PointNames { observer: Some(Arc::clone(observer)), ..self.names() })
    }

    fn named(names: PointNames) -> Self {
        let mut points = POINTS.write().unwrap_or_else(PoisonError::into_inner);
        Self(points.get_or_insert_default().number(names))
    }

    /// Another interface of the same source.
    #[must_use]
    pub fn on(self, interface: Interface) -> Self {
        Self::named(PointNames { interface: Some(interface), ..self.names() })
    }

    /// The sensor, if it is another one than this.
    pub fn observer(self) -> Option<Arc<str>> {
        if !HAS_OTHERS.load(Ordering::Relaxed) {
            return None;
        }
        self.look(|(names, _)| names.observer.clone())
    }

    /// What it stands for.
    pub fn names(self) -> PointNames {
        self.look(|(names, _)| names.clone())
    }

    /// A number made of its names alone, for ids; 0 for the unnamed point.
    pub fn mark(self) -> u64 {
        if self == Self::default() { 0 } else { self.look(|(_, mark)| *mark) }
    }

    /// Its place among the points of this process, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its number, for keys that don't outlive the process.
    pub(crate) const fn number(self) -> u16 {
        self.0
    }

    /// The point of a [number](Self::number).
    pub(crate) const fn from_number(number: u16) -> Self {
        Self(number)
    }

    fn look<T: Default>(self, take: impl FnOnce(&(PointNames, u64)) -> T) -> T {
        let points = POINTS.read().unwrap_or_else(PoisonError::into_inner);
        let found = points.as_ref().and_then(|points| points.all.get(usize::from(self.0)));
        found.map(take).unwrap_or_default()
    }
}

// === impl Points ===

impl Points {
    fn number(&mut self, names: PointNames) -> u16 {
        if self.all.is_empty() {
            self.all.push((PointNames::default(), 0));
            self.numbers.insert(PointNames::default(), 0);
        }
        if let Some(number) = self.numbers.get(&names) {
            return *number;
        }
        let Ok(number) = u16::try_from(self.all.len()) else { return 0 };
        self.all.push((names.clone(), names.mark()));
        self.numbers.insert(names, number);
        number
    }
}

// === impl PointNames ===

impl PointNames {
    /// The first eight bytes of a BLAKE3 hash of the names.
    fn mark(&self) -> u64 {
        if self.source.is_empty() && self.interface.is_none() {
            return 0;
        }
        let mut hash = blake3::Hasher::new();
        hash.update(&(self.source.len() as u64).to_be_bytes()).update(self.source.as_bytes());
        match &self.interface {
            None => {}
            Some(Interface::Named(name)) => {
                hash.update(&[1]).update(name.as_bytes());
            }
            Some(Interface::Numbered(number)) => {
                hash.update(&[2]).update(&number.to_be_bytes());
            }
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.finalize().as_bytes()[..8]);
        u64::from_be_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_same_for_the_same_names_and_no_other() {
        let named = |name: &str| Some(Interface::Named(name.into()));
        let points = [
            ObservationPoint::of("wire", None),
            ObservationPoint::of("wire", named("eth0")),
            ObservationPoint::of("wire", named("eth1")),
            ObservationPoint::of("wire", named("1")),
            ObservationPoint::of("wire", Some(Interface::Numbered(1))),
            ObservationPoint::of("wireeth", named("0")),
        ];
        for (at, point) in points.iter().enumerate() {
            let PointNames { source, interface, .. } = point.names();
            assert_eq!(ObservationPoint::of(&source, interface), *point);
            for other in &points[..at] {
                assert_ne!((point, point.mark()), (other, other.mark()));
                assert_ne!(point.mark(), other.mark());
            }
        }
        assert_eq!(points[0].on(Interface::Named("eth1".into())), points[2]);
    }

    #[test]
    fn a_point_of_another_sensor_has_the_same_mark() {
        let point = ObservationPoint::of("wire", Some(Interface::Named("eth7".into())));
        let [one, other] = ["agent-1", "agent-2"].map(|agent| point.seen_by(&agent.into()));
        assert_eq!((point.observer(), one.observer()), (None, Some("agent-1".into())));
        assert_ne!(one, other);
        assert_eq!([one.mark(), other.mark()], [point.mark(); 2]);
        assert_eq!(one.on(Interface::Numbered(3)).observer(), Some("agent-1".into()));
        assert_eq!(ObservationPoint::default().seen_by(&"agent-1".into()).mark(), 0);
    }

    #[test]
    fn the_unnamed_point_marks_nothing() {
        let unnamed = ObservationPoint::default();
        assert_eq!((unnamed.mark(), unnamed.names()), (0, PointNames::default()));
        assert_eq!(ObservationPoint::of("", None), unnamed);
    }
}
