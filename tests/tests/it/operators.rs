//! Operators changed over the interface of the real server, which is killed in between: every payment is reported once, by what was in force.
//! Must not know how versions are kept.
use std::collections::BTreeSet;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{
    payments::{OPERATOR, check_complete, killed, reports, started, stop},
    server::{Server, json, problem},
};

fn path(what: &str) -> String {
    OPERATOR.path(what)
}

async fn post(server: &Server, what: &str, body: Value) -> Response {
    OPERATOR.ask(server, Method::POST, what, body).await
}

/// Plugin and number of what is in force.
async fn in_force(server: &Server) -> (String, u64) {
    let page = server.json("/v1/jobs/payments/operators").await;
    let [rules] = &page["items"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!(rules["operator"], "rules");
    (rules["plugin"].as_str().unwrap().to_owned(), rules["change"].as_u64().unwrap())
}

#[tokio::test]
async fn operators_change_over_http_and_what_is_in_force_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (server, mut events) = started(OPERATOR.job(5000, &out)).await;

    let version = |number: &str| format!("payment-rules@{number}");
    let dry = post(&server, "/swap", json!({ "plugin": version("2.0.0"), "dry_run": true })).await;
    let dry = json(dry, 200).await;
    assert_eq!((&dry["from"]["change"], &dry["to"]["plugin"]), (&json!(0), &json!(version("2.0.0"))));
    assert!(dry["in_force"] == false && in_force(&server).await == (version("1.0.0"), 0), "{dry}");
    assert_eq!(problem(post(&server, "/swap", json!({ "plugin": "nobody@1.0.0" })).await, 422).await, "X0103");
    assert_eq!(problem(post(&server, "/rollback", json!({})).await, 409).await, "V0112");
    let swapped = json(post(&server, "/swap", json!({ "plugin": version("2.0.0") })).await, 200).await;
    assert_eq!((&swapped["to"]["change"], &swapped["to"]["configuration"]), (&json!(1), &json!({ "limit": -1 })));
    events.wait(r#""outcome":"in_force""#).await;

    let graph = server.json("/v1/jobs/payments/graph").await;
    let rules = graph["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "rules").unwrap();
    assert_eq!(rules["plugins"], json!(["payment-rules 2.0.0"]));

    let patch = async |tag: &str, patch: Value| {
        let request = server.request(Method::PATCH, &path("/config")).header("if-match", tag).json(&patch);
        request.header("content-type", "application/merge-patch+json").send().await.unwrap()
    };
    assert_eq!(server.get(&path("/config")).await.headers()["etag"], "\"1\"");
    assert_eq!(problem(patch("\"0\"", json!({ "mark": 7 })).await, 412).await, "R0214");
    assert_eq!(problem(patch("\"1\"", json!({ "mark": "x" })).await, 422).await, "V0111");
    let patched = patch("\"1\"", json!({ "mark": 7 })).await;
    assert_eq!(patched.headers()["etag"], "\"2\"");
    assert_eq!(json(patched, 200).await["to"]["configuration"], json!({ "limit": -1, "mark": 7 }));
    events.wait("event: checkpoint").await;

    let shadow = json!({ "plugin": version("1.0.0"), "ignored": ["rules"] });
    json(post(&server, "/shadow", shadow).await, 201).await;
    let compared = loop {
        let report = server.json(&path("/shadow")).await;
        if report["compared"]["equal"].as_u64().unwrap() > 0 {
            break report["compared"].clone();
        }
        events.wait("event: checkpoint").await;
    };
    assert_eq!((&compared["different"], &compared["missing"]), (&json!(0), &json!(0)), "{compared}");
    let seen = async |change: u64, method: Method, what: &str, body: Value| {
        let request = server.request(method, &path(what)).header("if-match", format!("\"{change}\""));
        request.json(&body).send().await.unwrap()
    };
    for (method, what, body) in [
        (Method::POST, "/swap", json!({ "plugin": version("1.0.0") })),
        (Method::POST, "/rollback", json!({})),
        (Method::POST, "/promote", json!({})),
        (Method::POST, "/discard", json!({})),
        (Method::DELETE, "/shadow", json!({})),
    ] {
        assert_eq!(problem(seen(1, method, what, body).await, 412).await, "R0214", "{what}");
    }
    let promoted = json(seen(2, Method::POST, "/promote", json!({})).await, 200).await;
    assert_eq!((&promoted["from"]["change"], &promoted["to"]["plugin"]), (&json!(2), &json!(version("1.0.0"))));
    assert_eq!(problem(server.get(&path("/shadow")).await, 409).await, "X0110");
    json(seen(3, Method::POST, "/rollback", json!({})).await, 200).await;
    assert_eq!(in_force(&server).await, (version("2.0.0"), 4));
    // Of two who have seen the same, one comes first, and the other hears that it was not alone.
    let (one, other) = tokio::join!(patch("\"4\"", json!({ "mark": 7 })), patch("\"4\"", json!({ "mark": 7 })));
    let (first, late) = if one.status() == 200 { (one, other) } else { (other, one) };
    assert_eq!(json(first, 200).await["to"]["change"], 5);
    assert_eq!(problem(late, 412).await, "R0214");

    let trial = json!({ "plugin": version("2.1.0"), "trial": { "time": "1h" } });
    loop {
        let answer = post(&server, "/swap", trial.clone()).await;
        if answer.status().is_success() {
            break;
        }
        // It has failed before it was in force: the job starts again as after any failure.
        assert_eq!(problem(answer, 409).await, "X0107");
        events.wait("event: restart").await;
        events.wait(r#""to":"running""#).await;
    }
    events.wait(r#""outcome":"rolled_back""#).await;
    events.wait("event: checkpoint").await;
    assert_eq!(in_force(&server).await, (version("2.0.0"), 7));
    let needed = server.request(Method::DELETE, "/v1/plugins/payment-rules/2.0.0").send().await.unwrap();
    assert_eq!(problem(needed, 409).await, "R0107");

    let (server, _) = killed(server).await;
    assert_eq!(in_force(&server).await, (version("2.0.0"), 7));
    let history = server.json(&path("/versions")).await;
    let mut pages = Vec::new();
    let mut next = String::new();
    loop {
        let mut page = server.json(&path(&format!("/versions?limit=2{next}"))).await;
        let items = page["items"].as_array_mut().unwrap();
        pages.append(items);
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(&pages, history["items"].as_array().unwrap());
    let history = history["items"].as_array().unwrap().iter();
    let history: Vec<_> = history.map(|it| (it["action"].as_str().unwrap(), it["outcome"].as_str().unwrap())).collect();
    assert_eq!(history[..3], [("swap", "refused"), ("swap", "in_force"), ("config", "refused")]);
    let made: Vec<_> = history.into_iter().filter(|(_, outcome)| *outcome != "refused").collect();
    let expected = [
        ("swap", "in_force"),
        ("config", "in_force"),
        ("promote", "in_force"),
        ("rollback", "in_force"),
        ("config", "in_force"),
        ("swap", "in_force"),
        ("rollback", "rolled_back"),
    ];
    assert_eq!(made, expected);
    let audit = server.json("/v1/audit?limit=100").await;
    let noted = |who: &str, action: &str| {
        let of = |entry: &&Value| entry["who"] == who && entry["action"] == action;
        let entry = audit["items"].as_array().unwrap().iter().rfind(of).unwrap_or_else(|| panic!("{audit}"));
        ["from", "to", "outcome"].map(|field| entry[field].as_str().unwrap().to_owned())
    };
    let (by_2_0, by_2_1) = ("payment-rules@2.0.0 (change", "payment-rules@2.1.0 (change 6");
    let [from, to, outcome] = noted("local", "operator.swap");
    assert!(from.starts_with(by_2_0) && to.starts_with(by_2_1) && outcome == "done", "{from}, {to}, {outcome}");
    // Nobody has asked for this one.
    let [from, to, outcome] = noted("server", "operator.rollback");
    let expected = from.starts_with(by_2_1) && to.starts_with(&format!("{by_2_0} 7")) && outcome.contains("[P0301]");
    assert!(expected, "{from}, {to}, {outcome}");

    let id = stop(&server).await;
    let ended = server.request(Method::POST, &format!("/v1/jobs/{id}/operators/rules/rollback")).send().await.unwrap();
    assert_eq!((ended.status(), problem(ended, 409).await.as_str()), (StatusCode::CONFLICT, "V0103"));
    let reports = reports(&out);
    check_complete(&reports, 1);
    let by: BTreeSet<(&str, u64)> = reports.iter().map(|report| (report.rules.as_str(), report.mark)).collect();
    for version in [("1.0", 0), ("2.0", 7)] {
        assert!(by.contains(&version), "{by:?}");
    }
}
