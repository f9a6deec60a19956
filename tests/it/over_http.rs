//! What the network sinks have in common: the cookies they keep, and the health they report.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tidegate::sinks::splunk_hec;

use crate::harness::{
    Case, Outcome, Scene, captures,
    delivery::{Delivery, alerts},
    faults::{FaultServer, Reply, Request},
    http, poll, server,
    tidegate::Tidegate,
};

const LIMIT: Duration = Duration::from_mins(5);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_collector_gets_the_cookies_of_its_load_balancer_back),
        Case::new(a_sink_whose_server_is_down_is_not_healthy_until_it_delivers),
        Case::new(a_wrong_password_shows_before_the_first_record),
    ]
}

/// A server that keeps what it is asked.
async fn recording(
    answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> std::io::Result<(FaultServer, Arc<Mutex<Vec<Request>>>)> {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let server = FaultServer::start(None, {
        let requests = Arc::clone(&requests);
        move |request| {
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            answer(request)
        }
    });
    Ok((server.await?, requests))
}

fn created(request: &Request) -> Reply {
    let documents = memchr::memchr_iter(b'\n', &request.body).count() / 2;
    let items = vec![json!({"create": {"status": 201}}); documents];
    Reply::Answer(200, json!({"errors": false, "items": items}).to_string(), None)
}

fn a_collector_gets_the_cookies_of_its_load_balancer_back(_scene: &Scene) -> Outcome {
    tokio::runtime::Runtime::new()?.block_on(async {
        let (server, requests) = recording(|_| {
            let cookie = ("set-cookie", "node=seven; Path=/; HttpOnly".to_owned());
            Reply::Answer(200, json!({"text": "Success", "code": 0}).to_string(), Some(cookie))
        })
        .await?;
        let config: splunk_hec::Config = serde_json::from_value(json!({
            "endpoint": server.url(), "token": "t", "acknowledgements": {"enabled": false},
        }))?;
        let one_by_one = json!({"batch": {"max_events": 1}, "request": {"concurrency": 1}});
        let delivery = Delivery::start(&config, one_by_one)?;
        delivery.send(alerts(3, &[])).await?;
        assert_eq!(delivery.finish(LIMIT).await?.delivered, 3);
        let requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        let cookies: Vec<_> =
            requests.iter().map(|request| request.headers.get("cookie")).collect();
        let ours = "node=seven".to_owned();
        assert_eq!(cookies, [None, Some(&ours), Some(&ours)]);
        Ok(())
    })
}

fn a_sink_whose_server_is_down_is_not_healthy_until_it_delivers(scene: &Scene) -> Outcome {
    let capture = scene.path("packets.pcap");
    captures::numbered(10).write(&capture);
    let port = server::free_port()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mended = Arc::new(AtomicBool::new(false));
    let (server, _) = runtime.block_on(recording({
        let mended = Arc::clone(&mended);
        move |request| {
            if mended.load(Ordering::SeqCst) {
                return created(request);
            }
            Reply::Answer(503, "down".to_owned(), None)
        }
    }))?;
    let config = format!(
        "data_dir: {state}
api: {{ address: '127.0.0.1:{port}' }}
sources:
  capture: {{ type: tshark, mode: file, files: ['{capture}'] }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  siem: {{ type: elasticsearch, inputs: [packets], endpoints: ['{url}'], request: {{ retry_max_secs: 1 }} }}
",
        state = scene.path("state").display(),
        capture = capture.display(),
        url = server.url(),
    );
    let config = scene.write("down.yaml", config);
    let running = Tidegate::new(scene, ["run", "-c"]).arg(&config).start()?;
    let health = || {
        let answer = runtime.block_on(http::get(&format!("http://127.0.0.1:{port}/health")));
        let (status, text) = answer.ok()?;
        Some((status, serde_json::from_str::<Value>(&text).ok()?))
    };
    poll::until_true("the sink to be unhealthy", LIMIT, || {
        health().is_some_and(|(status, health)| {
            let siem = &health["components"][2];
            status == 503
                && health["healthy"] == json!(false)
                && siem["id"] == json!("siem")
                && siem["state"] == json!("holding")
        })
    })?;
    mended.store(true, Ordering::SeqCst);
    running.wait(LIMIT)?.expect(0)?.says(&["delivered 10, dead-lettered 0"])
}

fn a_wrong_password_shows_before_the_first_record(scene: &Scene) -> Outcome {
    let port = server::free_port()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mended = Arc::new(AtomicBool::new(false));
    let (server, requests) = runtime.block_on(recording({
        let mended = Arc::clone(&mended);
        move |request| match (mended.load(Ordering::SeqCst), request.target.as_str()) {
            (false, _) => Reply::Answer(401, "who are you?".to_owned(), None),
            // Whoever may only write is not told who the server is.
            (true, "/") => Reply::Answer(403, String::new(), None),
            (true, _) => created(request),
        }
    }))?;
    let config = format!(
        "data_dir: {state}
api: {{ address: '127.0.0.1:{port}' }}
sources: {{ self: {{ type: health, interval_secs: 3600 }} }}
sinks:
  siem: {{ type: elasticsearch, inputs: [self], endpoints: ['{url}'] }}
",
        state = scene.path("state").display(),
        url = server.url(),
    );
    let config = scene.write("wrong.yaml", config);
    let running = Tidegate::new(scene, ["run", "-c"]).arg(&config).start()?;
    let status = || {
        let answer = runtime.block_on(http::get(&format!("http://127.0.0.1:{port}/health")));
        answer.ok().map(|(status, _)| status)
    };
    poll::until_true("the sink to be unhealthy", LIMIT, || status() == Some(503))?;
    poll::until_true("the reason in the log", LIMIT, || running.stderr().contains("who are you?"))?;
    mended.store(true, Ordering::SeqCst);
    poll::until_true("the sink to be healthy", LIMIT, || status() == Some(200))?;
    let asked = requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(asked.iter().all(|request| request.target == "/"), "no record was sent: {asked:?}");
    running.signal(rustix::process::Signal::TERM);
    running.wait(LIMIT)?.expect(0).map(drop)
}
