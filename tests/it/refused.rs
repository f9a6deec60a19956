//! Replays into destinations that refuse us: they end at once and say why, unless they are told to wait.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use crate::harness::{
    Case, Outcome, Scene, captures,
    certificates::{Certificates, Flaw},
    faults::{FaultServer, Reply, Request},
    tidegate::Tidegate,
};

const LIMIT: Duration = Duration::from_mins(5);
const PACKETS: u32 = 10;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_wrong_password_ends_a_replay_and_a_patient_one_waits_until_it_is_mended),
        Case::new(a_wrong_authority_or_name_ends_a_replay),
        Case::new(brokers_whose_names_lead_nowhere_end_a_replay),
        Case::new(a_refusal_after_the_first_delivered_record_is_waited_out),
    ]
}

/// A replay config with a collector at `url`, which takes one record a request.
fn config(scene: &Scene, url: &str) -> PathBuf {
    captures::numbered(PACKETS).write(&scene.path("some.pcap"));
    let text = format!(
        "sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  siem:
    type: splunk_hec
    inputs: [packets]
    endpoint: \"{url}\"
    token: some-token
    acknowledgements: {{ enabled: false }}
    batch: {{ max_events: 1 }}
    request: {{ concurrency: 1, retry_max_secs: 1 }}
"
    );
    scene.write("refused.yaml", text)
}

fn replay(scene: &Scene, config: &PathBuf, more: &[&str]) -> Tidegate {
    let mut command = Tidegate::new(scene, ["replay", "-c"]).arg(config);
    for argument in more {
        command = command.arg(argument);
    }
    command.arg(scene.path("some.pcap"))
}

fn taken() -> Reply {
    Reply::Answer(200, json!({"text": "Success", "code": 0}).to_string(), None)
}

fn denied() -> Reply {
    Reply::Answer(401, json!({"text": "Invalid token", "code": 4}).to_string(), None)
}

/// A server that refuses the requests with these numbers, from 0.
async fn refusing(
    which: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> std::io::Result<FaultServer> {
    let number = Arc::new(AtomicUsize::new(0));
    FaultServer::start(None, move |_: &Request| {
        if which(number.fetch_add(1, Ordering::SeqCst)) { denied() } else { taken() }
    })
    .await
}

fn a_wrong_password_ends_a_replay_and_a_patient_one_waits_until_it_is_mended(
    scene: &Scene,
) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(refusing(|_| true))?;
    let config_file = config(scene, &server.url());
    let ended = replay(scene, &config_file, &[]).start()?.wait(LIMIT)?.expect(78)?;
    ended.says(&["siem", "Invalid token", "hint", "--wait", "last error"])?;
    let mended = runtime.block_on(refusing(|number| number < 3))?;
    let config_file = config(scene, &mended.url());
    let ended = replay(scene, &config_file, &["--wait"]).start()?.wait(LIMIT)?.expect(0)?;
    ended.says(&[&format!("delivered {PACKETS}"), "Invalid token"])
}

fn a_wrong_authority_or_name_ends_a_replay(scene: &Scene) -> Outcome {
    let certificates = Certificates::flawed(scene, "wrong", Flaw::WrongAuthority);
    let runtime = tokio::runtime::Runtime::new()?;
    let server =
        runtime.block_on(FaultServer::start(Some(&certificates), |_: &Request| taken()))?;
    // Nobody has a name below `invalid` (RFC 6761).
    for (url, says) in
        [(server.secure_url(), "tls.ca"), ("https://siem.invalid:8088".to_owned(), "dns error")]
    {
        let config_file = config(scene, &url);
        let ended = replay(scene, &config_file, &[]).start()?.wait(LIMIT)?.expect(78)?;
        ended.says(&["siem", "nothing can be delivered", says, "--wait"])?;
    }
    Ok(())
}

fn brokers_whose_names_lead_nowhere_end_a_replay(scene: &Scene) -> Outcome {
    let text = fs::read_to_string(config(scene, "https://siem.invalid:8088"))?
        .replace("type: splunk_hec", "type: kafka")
        .replace(
            "endpoint: \"https://siem.invalid:8088\"",
            "bootstrap_servers: [siem.invalid:9092]",
        )
        .replace("token: some-token", "topic: packets")
        .replace("    acknowledgements: { enabled: false }\n", "");
    let config_file = scene.write("nowhere.yaml", text);
    let ended = replay(scene, &config_file, &[]).start()?.wait(LIMIT)?.expect(78)?;
    ended.says(&["siem", "nothing can be delivered", "siem.invalid", "--wait"])
}

fn a_refusal_after_the_first_delivered_record_is_waited_out(scene: &Scene) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(refusing(|number| (1..3).contains(&number)))?;
    let config_file = config(scene, &server.url());
    let ended = replay(scene, &config_file, &[]).start()?.wait(LIMIT)?.expect(0)?;
    ended.says(&[&format!("delivered {PACKETS}"), "not delivered, kept and sent again"])
}
