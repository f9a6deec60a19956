//! A destination whose name moves to another address, as a load balancer's or a failed node's does: by a real
//! resolver, which the program finds in a resolv.conf of its own.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, id},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::{
    Case, Outcome, Scene,
    faults::{FaultServer, Reply, Request},
    poll::{self, SOON},
    tidegate::{Running, Tidegate},
    unbound::Unbound,
};

const NAME: &str = "siem.example";
/// Longer than connections are kept.
const KEPT: Duration = Duration::from_mins(3);

/// Tells the moves of one process apart.
static NEXT: AtomicU8 = AtomicU8::new(0);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_name_that_moved_is_followed_when_the_old_address_refuses).needs_root(),
        Case::new(a_name_that_moved_is_followed_when_the_old_address_is_gone).needs_root(),
        Case::new(a_name_that_moved_is_followed_though_the_old_address_goes_on).needs_root().slow(),
    ]
}

/// The ids of the documents that a server took.
type Taken = Arc<Mutex<BTreeSet<String>>>;

/// A run that writes a report each second to a name; and the two servers the name may lead to.
struct Move<'a> {
    scene: &'a Scene,
    resolver: SocketAddr,
    unbound: Option<Unbound>,
    old: Option<FaultServer>,
    new: FaultServer,
    refuses: Arc<AtomicBool>,
    taken: [Taken; 2],
    running: Running,
}

// === impl Move ===

impl<'a> Move<'a> {
    fn start(scene: &'a Scene, runtime: &Runtime) -> Result<Self, Failed> {
        // Port 53 is the only one that a resolv.conf knows: an address of loopback that no other case takes.
        let [.., high, low] = id().to_be_bytes();
        let place = NEXT.fetch_add(1, SeqCst);
        let at = |last| Ipv4Addr::new(127, 100 + (high & 63) + place, low, last);
        let resolver = SocketAddr::from((at(53), 53));
        let unbound = resolves_to(scene, resolver, at(1).into())?;
        let refuses = Arc::new(AtomicBool::new(false));
        let taken = [Taken::default(), Taken::default()];
        let first = keeping(&taken[0], &refuses);
        let old = runtime.block_on(FaultServer::start_at((at(1), 0).into(), None, first))?;
        let port = old.address.port();
        let second = keeping(&taken[1], &Arc::default());
        let new = runtime.block_on(FaultServer::start_at((at(2), port).into(), None, second))?;
        let config = scene.write(
            "tidegate.yaml",
            format!(
                "data_dir: state
api: {{ address: '127.0.0.1:0' }}
sources: {{ own: {{ type: health, interval_secs: 1 }} }}
transforms: {{}}
sinks:
  siem:
    type: elasticsearch
    inputs: [own]
    endpoints: ['http://{NAME}:{port}']
    batch: {{ timeout_secs: 1 }}
    request: {{ retry_max_secs: 1 }}
"
            ),
        );
        let resolv = scene.write("resolv.conf", format!("nameserver {}\n", resolver.ip()));
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"",
        ]);
        command.arg("sh").arg(resolv);
        let running = Tidegate::behind(scene, command, ["run", "-c"]).arg(config).start()?;
        let old = Some(old);
        let begun =
            Self { scene, resolver, unbound: Some(unbound), old, new, refuses, taken, running };
        begun.wait_for(0, SOON)?;
        Ok(begun)
    }

    /// The name leads to the second server from now on.
    fn moves(&mut self) -> Outcome {
        self.unbound = None;
        self.unbound = Some(resolves_to(self.scene, self.resolver, self.new.address.ip())?);
        Ok(())
    }

    fn wait_for(&self, server: usize, limit: Duration) -> Outcome {
        let what = format!("documents at server {server}");
        poll::until_true(&what, limit, || !held(&self.taken[server]).is_empty())
    }

    /// Ends the run: each report that it made is at one of the two.
    fn ends_with_all_delivered(self) -> Outcome {
        let taken = &self.taken;
        self.running.signal(Signal::INT);
        let ended = self.running.wait(SOON)?;
        let both: BTreeSet<_> = held(&taken[0]).union(&held(&taken[1])).cloned().collect();
        let delivered = format!("delivered {}, dead-lettered 0", both.len());
        ended.expect(0)?.says(&[&delivered])
    }
}

fn held(taken: &Taken) -> BTreeSet<String> {
    taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn resolves_to(scene: &Scene, resolver: SocketAddr, to: IpAddr) -> Result<Unbound, Failed> {
    let zones = format!("  local-data: \"{NAME}. 0 A {to}\"\n");
    Unbound::start_at(scene, resolver, &zones, "broken.example.")
}

/// Takes documents and keeps their ids, unless it refuses whoever comes.
fn keeping(
    taken: &Taken,
    refuses: &Arc<AtomicBool>,
) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let (taken, refuses) = (Arc::clone(taken), Arc::clone(refuses));
    move |request| {
        if refuses.load(SeqCst) {
            return Reply::Answer(503, "moved away".to_owned(), None);
        }
        let ids: Vec<String> = request
            .body
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
            .filter_map(|line| line["create"]["_id"].as_str().map(str::to_owned))
            .collect();
        let items = vec![json!({"create": {"status": 201}}); ids.len()];
        taken.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
        Reply::Answer(200, json!({"errors": false, "items": items}).to_string(), None)
    }
}

fn a_name_that_moved_is_followed_when_the_old_address_refuses(scene: &Scene) -> Outcome {
    let runtime = Runtime::new()?;
    let mut moved = Move::start(scene, &runtime)?;
    moved.moves()?;
    moved.refuses.store(true, SeqCst);
    moved.wait_for(1, SOON)?;
    moved.ends_with_all_delivered()
}

fn a_name_that_moved_is_followed_when_the_old_address_is_gone(scene: &Scene) -> Outcome {
    let runtime = Runtime::new()?;
    let mut moved = Move::start(scene, &runtime)?;
    moved.moves()?;
    // Its open connections end with the next request on each.
    moved.old.take().iter().for_each(|old| old.reset_unread(usize::MAX));
    moved.wait_for(1, SOON)?;
    moved.ends_with_all_delivered()
}

fn a_name_that_moved_is_followed_though_the_old_address_goes_on(scene: &Scene) -> Outcome {
    let runtime = Runtime::new()?;
    let mut moved = Move::start(scene, &runtime)?;
    moved.moves()?;
    moved.wait_for(1, KEPT)?;
    moved.ends_with_all_delivered()
}
