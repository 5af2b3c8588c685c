//! A version of the rules for a share of the users, over the interface of the real server, which is killed in between: every payment is reported
//! once, by the version its user had at that point of the input. Must not know how versions are kept.
use reqwest::Method;
use serde_json::{Value, json};
use wasmill::model::{Share, key_hash};

use super::{
    payments::{Events, OPERATOR, RULE, Report, Slot, check_complete, killed, reports, started, stop},
    server::{Server, json, problem},
};

/// Waits until the canary has processed so many rows; what both versions have done then.
async fn processed(slot: &Slot, server: &Server, events: &mut Events, rows: u64) -> Value {
    loop {
        let counts = server.json(&slot.path("/canary")).await["counts"].clone();
        if counts["canary"]["rows"].as_u64() >= Some(rows) {
            return counts;
        }
        events.wait("event: checkpoint").await;
    }
}

/// Fails unless these reports are of the first version up to one payment, and of the second after it; that payment.
fn cut<'a>(reports: impl Iterator<Item = &'a Report>) -> u64 {
    let (first, second): (Vec<&Report>, Vec<&Report>) = reports.partition(|report| report.rules == "1.0");
    assert!(second.iter().all(|report| report.rules == "2.0"));
    let last = first.last().expect("some of the first").number();
    assert!(second.first().expect("some of the second").number() > last, "a version came back");
    last
}

#[tokio::test]
async fn a_share_of_the_users_has_the_new_rules_until_all_have_also_over_a_kill() {
    shared(&OPERATOR).await;
}

#[tokio::test]
async fn a_share_of_the_users_has_another_version_of_a_rule_until_all_have_also_over_a_kill() {
    shared(&RULE).await;
}

async fn shared(slot: &Slot) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (server, mut events) = started(slot.job(5000, &out)).await;
    let rules = |number: &str| format!("payment-rules@{number}");

    assert_eq!(problem(server.get(&slot.path("/canary")).await, 409).await, "X0126");
    let wrong = slot.ask(&server, Method::POST, "/canary", json!({ "plugin": rules("2.0.0"), "share": 1.0 })).await;
    assert_eq!(problem(wrong, 422).await, "X0125");
    let begun = slot.ask(&server, Method::POST, "/canary", json!({ "plugin": rules("2.0.0"), "share": 0.1 })).await;
    assert_eq!(begun.headers()["etag"], "\"1\"");
    let begun = json(begun, 201).await;
    assert_eq!((&begun["plugin"], &begun["canary"]["plugin"]), (&json!(rules("1.0.0")), &json!(rules("2.0.0"))));
    assert_eq!(begun["canary"]["share"], 0.1);
    events.wait(r#""action":"canary""#).await;
    for what in ["/canary", "/swap", "/shadow"] {
        let body = json!({ "plugin": rules("2.0.0") });
        let body = if what == "/canary" { json!({ "plugin": rules("2.0.0"), "share": 0.1 }) } else { body };
        assert_eq!(problem(slot.ask(&server, Method::POST, what, body).await, 409).await, "X0121", "{what}");
    }
    assert_eq!(problem(slot.ask(&server, Method::POST, "/rollback", json!({})).await, 409).await, "V0112");
    let needed = server.request(Method::DELETE, "/v1/plugins/payment-rules/2.0.0").send().await.unwrap();
    assert_eq!(problem(needed, 409).await, "R0107");
    let counts = processed(slot, &server, &mut events, 500).await;
    let number = |version: &str, field: &str| counts[version][field].as_u64().unwrap();
    let [others, its] = ["in_force", "canary"].map(|version| number(version, "rows"));
    assert!((0.05..0.2).contains(&(its as f64 / (its + others) as f64)), "{counts}");
    assert!(["emitted", "calls", "time_us"].iter().all(|field| number("canary", field) > 0), "{counts}");

    // Killed with a checkpoint that has the canary, and no other news.
    let (server, _) = killed(server).await;
    assert_eq!(server.json(&slot.path("/canary")).await["canary"]["share"], 0.1);
    let share = async |tag: &str, share: f64| {
        let request = server.request(Method::PATCH, &slot.path("/canary")).header("if-match", tag);
        request.json(&json!({ "share": share })).send().await.unwrap()
    };
    assert_eq!(problem(share("\"7\"", 0.5).await, 412).await, "R0214");
    let shared = json(share("\"1\"", 0.5).await, 200).await;
    assert_eq!((&shared["change"], &shared["canary"]["share"]), (&json!(2), &json!(0.5)));

    // Killed with a share that no checkpoint may have.
    let (server, mut events) = killed(server).await;
    assert_eq!(server.json(&slot.path("/canary")).await["canary"]["share"], 0.5);
    processed(slot, &server, &mut events, 1000).await;
    let promoted = json(slot.ask(&server, Method::POST, "/promote", json!({})).await, 200).await;
    assert_eq!((&promoted["from"]["change"], &promoted["to"]["plugin"]), (&json!(2), &json!(rules("2.0.0"))));
    assert!(promoted["to"].get("canary").is_none(), "{promoted}");
    events.wait("event: checkpoint").await;
    events.wait("event: checkpoint").await;
    let history = server.json(&slot.path("/versions")).await;
    let made = history["items"].as_array().unwrap().iter().filter(|change| change["outcome"] == "in_force");
    assert_eq!(
        made.map(|change| change["action"].as_str().unwrap()).collect::<Vec<_>>(),
        ["canary", "share", "promote"]
    );
    stop(&server).await;

    let reports = reports(&out);
    check_complete(&reports, 1);
    let [small, large] = [0.1, 0.5].map(|part| Share::of(part).unwrap());
    let has = |share: Share, report: &Report| share.has(key_hash(&report.user.to_le_bytes()));
    let cuts = [
        cut(reports.iter().filter(|report| has(small, report))),
        cut(reports.iter().filter(|report| has(large, report) && !has(small, report))),
        cut(reports.iter().filter(|report| !has(large, report))),
    ];
    assert!(cuts[0] < cuts[1] && cuts[1] < cuts[2], "{cuts:?}");
}

#[tokio::test]
async fn rules_that_fail_for_a_share_of_the_users_are_dropped() {
    dropped(&OPERATOR).await;
}

#[tokio::test]
async fn a_version_of_a_rule_that_fails_for_a_share_of_the_users_is_dropped() {
    dropped(&RULE).await;
}

async fn dropped(slot: &Slot) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (server, mut events) = started(slot.job(5000, &out)).await;
    let canary = json!({ "plugin": "payment-rules@2.1.0", "share": 0.05 });
    loop {
        // It stops at the first payment of a user.
        let answer = slot.ask(&server, Method::POST, "/canary", canary.clone()).await;
        if answer.status().is_success() {
            break;
        }
        assert_eq!(problem(answer, 409).await, "X0107");
        events.wait("event: restart").await;
        events.wait(r#""to":"running""#).await;
    }
    events.wait(r#""outcome":"rolled_back""#).await;
    events.wait("event: checkpoint").await;
    assert_eq!(problem(server.get(&slot.path("/canary")).await, 409).await, "X0126");
    let history = server.json(&slot.path("/versions")).await;
    let dropped = history["items"].as_array().unwrap().last().unwrap();
    assert_eq!((&dropped["action"], &dropped["who"]), (&json!("discard"), &Value::Null));
    assert_eq!(dropped["from"]["canary"]["plugin"], "payment-rules@2.1.0");
    assert!(
        dropped["reason"].as_str().unwrap().starts_with(&format!("[X0127] the canary of `{}` has failed", slot.name)),
        "{dropped}"
    );

    // One that is discarded by request has been in force meanwhile.
    json(
        slot.ask(&server, Method::POST, "/canary", json!({ "plugin": "payment-rules@2.0.0", "share": 0.2 })).await,
        201,
    )
    .await;
    processed(slot, &server, &mut events, 300).await;
    let discarded = server.request(Method::DELETE, &slot.path("/canary")).send().await.unwrap();
    assert_eq!(discarded.status(), 204);
    events.wait("event: checkpoint").await;
    events.wait("event: checkpoint").await;
    stop(&server).await;
    let (reports, share) = (reports(&out), Share::of(0.2).unwrap());
    check_complete(&reports, 1);
    assert!(reports.iter().any(|report| report.rules == "2.0"));
    for report in reports.iter().filter(|report| report.rules != "1.0") {
        assert!(report.rules == "2.0" && share.has(key_hash(&report.user.to_le_bytes())), "{}", report.rules);
    }
}
