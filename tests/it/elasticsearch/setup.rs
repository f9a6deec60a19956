//! `setup: install` against a scripted cluster that has what the servers of Maven lack: lifecycle
//! policies, other writers, and people who may not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, sinks::elasticsearch::Config};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply, Request},
};

const LIMIT: Duration = Duration::from_mins(5);
const SENT: u32 = 10;
const ILM: &str = "/_ilm/policy/tidegate";
const ISM: &str = "/_plugins/_ism/policies/tidegate";
const PIPELINE: &str = "/_ingest/pipeline/tidegate";
const TEMPLATE: &str = "/_index_template/tidegate";

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(elasticsearch_gets_policy_pipeline_and_template_before_the_first_record),
        Case::new(open_search_is_known_by_what_it_says_and_by_what_it_knows),
        Case::new(nothing_is_sent_before_the_set_up_is_in_place),
        Case::new(a_policy_that_another_put_there_first_is_there),
        Case::new(a_template_that_lacks_what_the_cluster_has_now_is_put_again),
        Case::new(the_pipeline_has_what_the_server_has_processors_for),
        Case::new(a_stream_that_may_not_be_rolled_over_holds_nothing_up),
    ]
}

/// A request as the cluster sees it.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    path: String,
    /// What is to be put there; `None` for a question, and for a bulk request.
    put: Option<Value>,
    /// How often the same was asked or put before.
    before: usize,
}

/// How one differs from a new cluster that lets everybody do everything.
type Differs = fn(&Call) -> Option<Reply>;

#[derive(Debug, Default)]
struct Cluster {
    calls: Mutex<Vec<Call>>,
}

// === impl Cluster ===

impl Cluster {
    fn answer(&self, request: &Request, differs: Differs) -> Reply {
        if request.target.starts_with("/_bulk") {
            self.note(Call { path: "/_bulk".to_owned(), put: None, before: 0 });
            let documents = memchr::memchr_iter(b'\n', &request.body).count() / 2;
            let items = vec![json!({"create": {"status": 201}}); documents];
            return reply(200, &json!({"errors": false, "items": items}));
        }
        let put = serde_json::from_slice(&request.body).ok();
        let call = self.note(Call { path: request.target.clone(), put, before: 0 });
        differs(&call).unwrap_or_else(|| match (&call.put, call.path.as_str()) {
            (Some(_), _) => reply(200, &json!({"acknowledged": true})),
            (None, "/") => reply(200, &json!({"version": {"number": "8.19.21"}})),
            (None, _) => missing(),
        })
    }

    fn note(&self, mut call: Call) -> Call {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |other: &&Call| other.path == call.path && other.put.is_some() == call.put.is_some();
        call.before = calls.iter().filter(same).count();
        calls.push(call.clone());
        call
    }
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply::Answer(status, body.to_string(), None)
}

fn error(status: u16, kind: &str) -> Reply {
    reply(status, &json!({"error": {"type": kind, "reason": "as asked"}, "status": status}))
}

fn missing() -> Reply {
    error(404, "resource_not_found_exception")
}

fn no_handler() -> Reply {
    reply(400, &json!({"error": "no handler found for uri [/x] and method [GET]"}))
}

/// What a cluster was told from the beginning to the end of a short run: the paths that something was
/// put to and those of bulk requests, in order, and what was put last at each.
struct Told {
    order: Vec<String>,
    put: BTreeMap<String, Value>,
    balance: Balance,
}

fn told(scene: &Scene, name: &str, differs: Differs) -> Result<Told, Failed> {
    let cluster = Arc::new(Cluster::default());
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let server = FaultServer::start(None, {
            let cluster = Arc::clone(&cluster);
            move |request| cluster.answer(request, differs)
        })
        .await?;
        let config: Config =
            serde_json::from_value(json!({"endpoints": [server.url()], "setup": "install"}))?;
        let mut options = delivery::hasty(scene, name);
        options["encoding"] = json!({"schema": "ecs"});
        let delivery = Delivery::start(&config, options)?;
        delivery.send(delivery::alerts(SENT, &[])).await?;
        delivery.finish(LIMIT).await
    })?;
    assert_eq!(balance.delivered, u64::from(SENT), "{balance:?}");
    let calls = std::mem::take(&mut *cluster.calls.lock().unwrap_or_else(PoisonError::into_inner));
    let is_told = |call: &&Call| call.put.is_some() || call.path == "/_bulk";
    let order = calls.iter().filter(is_told).map(|call| call.path.clone()).collect();
    let put = calls.into_iter().filter_map(|call| Some((call.path, call.put?))).collect();
    Ok(Told { order, put, balance })
}

fn elasticsearch_gets_policy_pipeline_and_template_before_the_first_record(
    scene: &Scene,
) -> Outcome {
    let told = told(scene, "elasticsearch", |_| None)?;
    assert_eq!(told.order, [ILM, PIPELINE, TEMPLATE, "/_bulk"]);
    assert_eq!(told.balance.errors, BTreeMap::new());
    let phases = &told.put[ILM]["policy"]["phases"];
    assert_eq!(phases["delete"]["min_age"], "30d");
    assert_eq!(phases["hot"]["actions"]["rollover"]["max_age"], "1d");
    let processors = told.put[PIPELINE]["processors"].as_array().ok_or("no processors")?;
    assert_eq!(processors[0]["geoip"]["field"], "source.ip");
    let last = processors.last().ok_or("no processor")?;
    assert_eq!(last["set"]["field"], "event.ingested");
    let template = &told.put[TEMPLATE];
    assert_eq!(template["index_patterns"], json!(["logs-tidegate.*-*"]));
    assert_eq!((&template["priority"], &template["data_stream"]), (&json!(250), &json!({})));
    let index = &template["template"]["settings"]["index"];
    assert_eq!(
        (&index["lifecycle"]["name"], &index["final_pipeline"]),
        (&json!("tidegate"), &json!("tidegate"))
    );
    Ok(())
}

fn open_search_is_known_by_what_it_says_and_by_what_it_knows(scene: &Scene) -> Outcome {
    let says: Differs = |call| {
        let about = json!({"version": {"distribution": "opensearch", "number": "3.6.0"}});
        (call.path == "/").then(|| reply(200, &about))
    };
    // Busy at first: no reason to take it for something else.
    let says_late: Differs = |call| match (call.path.as_str(), call.before) {
        ("/", 0) => Some(error(503, "cluster_block_exception")),
        ("/", 1) => Some(reply(429, &json!({}))),
        ("/", _) => {
            Some(reply(200, &json!({"version": {"distribution": "opensearch", "number": "3"}})))
        }
        _ => None,
    };
    let may_not_say: Differs = |call| match call.path.as_str() {
        "/" => Some(error(403, "security_exception")),
        ILM => Some(no_handler()),
        _ => None,
    };
    for (name, differs) in [("says", says), ("says-late", says_late), ("may-not-say", may_not_say)]
    {
        let told = told(scene, name, differs)?;
        assert_eq!(told.order, [ISM, PIPELINE, TEMPLATE, "/_bulk"], "{name}");
        let policy = &told.put[ISM]["policy"];
        assert_eq!(policy["ism_template"][0]["index_patterns"], json!(["logs-tidegate.*-*"]));
        assert_eq!(policy["states"][0]["transitions"][0]["conditions"]["min_rollover_age"], "30d");
        let template = &told.put[TEMPLATE];
        assert!(!template.to_string().contains("constant_keyword"), "{template}");
        let index = &template["template"]["settings"]["index"];
        assert_eq!(
            (&index["lifecycle"], &index["final_pipeline"]),
            (&Value::Null, &json!("tidegate"))
        );
    }
    // One that does not tell and knows neither kind of policy.
    let neither: Differs = |call| match call.path.as_str() {
        "/" => {
            Some(reply(405, &json!({"error": "Incorrect HTTP method for uri [/]", "status": 405})))
        }
        ILM | ISM => Some(no_handler()),
        _ => None,
    };
    let told = told(scene, "neither", neither)?;
    assert_eq!(told.order, [ILM, PIPELINE, TEMPLATE, "/_bulk"]);
    let template = told.put[TEMPLATE].to_string();
    assert!(template.contains("constant_keyword") && !template.contains("lifecycle"), "{template}");
    Ok(())
}

fn nothing_is_sent_before_the_set_up_is_in_place(scene: &Scene) -> Outcome {
    let denied: Differs = |call| {
        let denied = call.path == TEMPLATE && call.put.is_some() && call.before == 0;
        denied.then(|| error(403, "security_exception"))
    };
    let down: Differs = |call| {
        let down = call.path == PIPELINE && call.put.is_none() && call.before == 0;
        down.then(|| error(503, "cluster_block_exception"))
    };
    // It doesn't say that the server has no policies, but that we don't get through to it.
    let page: Differs = |call| {
        let page = "<html><h1>404 Not Found</h1>nginx</html>".to_owned();
        let lost = call.path == ILM && call.put.is_some() && call.before == 0;
        lost.then_some(Reply::Answer(404, page, None))
    };
    let sign_in: Differs = |call| {
        let page = "<html>sign in</html>".to_owned();
        let lost = call.path == TEMPLATE && call.put.is_none() && call.before == 0;
        lost.then_some(Reply::Answer(200, page, None))
    };
    let refused: Differs = |call| {
        let refused = call.path == TEMPLATE && call.put.is_some() && call.before == 0;
        refused.then(|| error(400, "illegal_argument_exception"))
    };
    let faults =
        [("denied", denied), ("down", down), ("page", page), ("sign", sign_in), ("no", refused)];
    for (name, differs) in faults {
        let told = told(scene, name, differs)?;
        assert!(told.balance.errors.contains_key("not_delivered_yet"), "{name}: {:?}", told.order);
        let bulk = told.order.iter().position(|path| path == "/_bulk");
        assert_eq!(bulk, Some(told.order.len() - 1), "{name}: {:?}", told.order);
        for path in [ILM, PIPELINE, TEMPLATE] {
            assert!(told.put.contains_key(path), "{name}: {:?}", told.order);
        }
        let template = told.put[TEMPLATE].to_string();
        assert!(template.contains("lifecycle"), "{name}: {template}");
    }
    Ok(())
}

fn a_policy_that_another_put_there_first_is_there(scene: &Scene) -> Outcome {
    let conflict: Differs = |call| {
        let late = call.path == ILM && call.put.is_some();
        late.then(|| error(409, "version_conflict_engine_exception"))
    };
    let exists: Differs = |call| {
        let late = call.path == ILM && call.put.is_some();
        late.then(|| error(400, "resource_already_exists_exception"))
    };
    for (name, differs) in [("conflict", conflict), ("exists", exists)] {
        let told = told(scene, name, differs)?;
        assert_eq!(told.balance.errors, BTreeMap::new(), "{name}");
        let index = &told.put[TEMPLATE]["template"]["settings"]["index"];
        assert_eq!(index["lifecycle"]["name"], "tidegate", "{name}");
    }
    Ok(())
}

/// The version of the template that this release brings.
fn current() -> u64 {
    let template = include_str!("../../../config/elasticsearch/index-template.json");
    let template: Value = serde_json::from_str(template).expect("the shipped file is JSON");
    template["version"].as_u64().expect("a template has a version")
}

/// The answer to a question for our template, if it has these settings and this version.
fn template(version: u64, index: &Value) -> Reply {
    let settings = json!({"settings": {"index": index}});
    let template = json!({"version": version, "template": settings});
    reply(200, &json!({"index_templates": [{"name": "tidegate", "index_template": template}]}))
}

fn a_template_that_lacks_what_the_cluster_has_now_is_put_again(scene: &Scene) -> Outcome {
    // It was installed when the cluster had no policies.
    let lacks = told(scene, "lacks", |call| {
        let reply = template(current(), &json!({"final_pipeline": "tidegate"}));
        (call.path == TEMPLATE && call.put.is_none()).then_some(reply)
    })?;
    assert_eq!(lacks.order, [ILM, PIPELINE, TEMPLATE, "/_bulk"]);
    let changed: Differs = |call| {
        let index = json!({"final_pipeline": "tidegate", "lifecycle": {"name": "for-a-year"}});
        (call.path == TEMPLATE && call.put.is_none()).then(|| template(current(), &index))
    };
    let newer: Differs =
        |call| (call.path == TEMPLATE && call.put.is_none()).then(|| template(1_000, &json!({})));
    for (name, differs) in [("changed", changed), ("newer", newer)] {
        let told = told(scene, name, differs)?;
        assert_eq!(told.order, [ILM, PIPELINE, "/_bulk"], "{name}");
    }
    Ok(())
}

/// The refusal of a pipeline with a processor that the server does not have.
fn no_processor(name: &str) -> Reply {
    let reason = format!("No processor type exists with name [{name}]");
    reply(400, &json!({"error": {"type": "parse_exception", "reason": reason}, "status": 400}))
}

fn has(call: &Call, processor: &str) -> bool {
    call.path == PIPELINE
        && call.put.as_ref().is_some_and(|put| put.to_string().contains(processor))
}

fn the_pipeline_has_what_the_server_has_processors_for(scene: &Scene) -> Outcome {
    fn open_search(call: &Call) -> Option<Reply> {
        let about = json!({"version": {"distribution": "opensearch", "number": "3.6.0"}});
        (call.path == "/").then(|| reply(200, &about))
    }
    fn no_data(call: &Call) -> Option<Reply> {
        let reason = "[datasource] datasource [tidegate-city] doesn't exist";
        let body = json!({"error": {"type": "parse_exception", "reason": reason}, "status": 400});
        open_search(call).or_else(|| has(call, "ip2geo").then(|| reply(400, &body)))
    }
    let no_geoip: Differs = |call| has(call, "\"geoip\"").then(|| no_processor("geoip"));
    let plugin: Differs = open_search;
    let no_plugin: Differs =
        |call| open_search(call).or_else(|| has(call, "ip2geo").then(|| no_processor("ip2geo")));
    let neither: Differs =
        |call| no_data(call).or_else(|| has(call, "\"geoip\"").then(|| no_processor("geoip")));
    let nothing: Differs = |call| {
        let put = call.path == PIPELINE && call.put.is_some();
        put.then(|| no_processor(if has(call, "\"geoip\"") { "geoip" } else { "set" }))
    };
    // What was put last, how many tries it took, and whether the template names it.
    for (name, differs, puts, ip2geo, geoip, used) in [
        ("no-geoip", no_geoip, 2, false, false, true),
        ("plugin", plugin, 1, true, true, true),
        ("no-plugin", no_plugin, 2, false, true, true),
        ("no-data", no_data, 2, false, true, true),
        ("neither", neither, 3, false, false, true),
        ("nothing", nothing, 2, false, false, false),
    ] {
        let told = told(scene, name, differs)?;
        assert_eq!(told.order.iter().filter(|path| *path == PIPELINE).count(), puts, "{name}");
        let last = told.put[PIPELINE].to_string();
        assert_eq!((last.contains("ip2geo"), last.contains("geoip\":")), (ip2geo, geoip), "{last}");
        let index = &told.put[TEMPLATE]["template"]["settings"]["index"];
        assert_eq!(!index["final_pipeline"].is_null(), used, "{name}");
        assert_eq!(told.balance.errors, BTreeMap::new(), "{name}");
    }
    // One that was put here before is left as it is, with what somebody changed in it.
    let there: Differs = |call| {
        let pipeline = json!({"tidegate": {
            "version": current(),
            "description": "Tidegate: event.ingested; places and networks by geoip",
            "processors": [{"set": {"field": "observer.geo.name", "value": "Bern"}}],
        }});
        (call.path == PIPELINE && call.put.is_none()).then(|| reply(200, &pipeline))
    };
    let told = told(scene, "there", there)?;
    assert_eq!(told.order, [ILM, TEMPLATE, "/_bulk"]);
    Ok(())
}

fn a_stream_that_may_not_be_rolled_over_holds_nothing_up(scene: &Scene) -> Outcome {
    const STREAM: &str = "logs-tidegate.alert-default";
    let old: Differs = |call| match call.path.as_str() {
        "/_resolve/index/logs-tidegate.*-*" => {
            let stream = json!({"name": STREAM, "backing_indices": [".ds-1", ".ds-2"]});
            Some(reply(200, &json!({"data_streams": [stream]})))
        }
        "/.ds-2/_mapping" => Some(reply(200, &json!({".ds-2": {"mappings": {}}}))),
        "/_index_template/_simulate_index/logs-tidegate.alert-default" => {
            let mappings = json!({"_meta": {"tidegate_template": current()}});
            Some(reply(200, &json!({"template": {"mappings": mappings}})))
        }
        "/logs-tidegate.alert-default/_rollover" => Some(error(403, "security_exception")),
        _ => None,
    };
    let denied = told(scene, "denied", old)?;
    let path = format!("/{STREAM}/_rollover");
    assert_eq!(denied.order, [ILM, PIPELINE, TEMPLATE, path.as_str(), "/_bulk"]);
    assert_eq!(denied.balance.errors, BTreeMap::new());

    // Whose next index would be made of another's template stays as it is.
    let named: Differs = |call| match call.path.as_str() {
        "/_resolve/index/logs-tidegate.*-*" => {
            let stream = json!({"name": STREAM, "backing_indices": ".ds-2"});
            Some(reply(200, &json!({"data_streams": [stream]})))
        }
        "/.ds-2/_mapping" => Some(reply(200, &json!({".ds-2": {"mappings": {}}}))),
        "/_data_stream/logs-tidegate.alert-default" => {
            Some(reply(200, &json!({"data_streams": [{"template": "somebody-elses"}]})))
        }
        _ => None,
    };
    let named = told(scene, "named", named)?;
    assert_eq!(named.order, [ILM, PIPELINE, TEMPLATE, "/_bulk"]);
    let foreign: Differs = |call| match call.path.as_str() {
        "/_resolve/index/logs-tidegate.*-*" => {
            let stream = json!({"name": STREAM, "backing_indices": ".ds-2"});
            Some(reply(200, &json!({"data_streams": [stream]})))
        }
        "/.ds-2/_mapping" => Some(reply(200, &json!({".ds-2": {"mappings": {}}}))),
        "/_index_template/_simulate_index/logs-tidegate.alert-default" => {
            Some(reply(200, &json!({"template": {"mappings": {}}})))
        }
        _ => None,
    };
    let foreign = told(scene, "foreign", foreign)?;
    assert_eq!(foreign.order, [ILM, PIPELINE, TEMPLATE, "/_bulk"]);
    Ok(())
}
