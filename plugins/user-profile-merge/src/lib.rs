//! User profile merge: adds to what users do what is known of them.
//!
//! Guarantees: behavior that comes before its user's profile waits for it, up to a bound. Must not know: what is done with profiles.

use wasmill_sdk::prelude::*;

/// How much waits.
#[config]
struct Settings {
    /// So many events of a user wait for the profile at most; the oldest go to the side output `without-profile`.
    #[serde(default = "hundred")]
    waiting_max: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Record, Debug, Clone, PartialEq)]
#[record(rename_all = "camelCase")]
struct Event<'a> {
    user_id: i64,
    item_id: i64,
    behavior: &'a str,
}

#[derive(Record, Clone)]
#[record(rename_all = "camelCase")]
struct Profile<'a> {
    user_id: i64,
    age: i64,
    city: &'a str,
}

#[derive(Record, Debug, PartialEq)]
#[record(rename_all = "camelCase")]
struct Merged<'a> {
    user_id: i64,
    item_id: i64,
    behavior: &'a str,
    age: i64,
    city: &'a str,
}

#[derive(SideOutputs)]
enum Side<'a> {
    WithoutProfile(Event<'a>),
}

#[state(postcard)]
struct Known {
    age: i64,
    city: String,
}

#[state(postcard)]
struct Waiting {
    timestamp_ms: i64,
    item_id: i64,
    behavior: String,
}

#[derive(States)]
struct User<'a> {
    profile: ValueState<'a, Known>,
    waiting: ListState<'a, Waiting>,
}

struct UserProfileMerge {
    waiting_max: usize,
}

#[connected_process]
impl UserProfileMerge {
    fn new(settings: Settings) -> Self {
        Self { waiting_max: settings.waiting_max }
    }

    fn process_first(
        &mut self,
        event: Event,
        user: &mut User,
        context: &mut KeyedContext,
        out: &mut Output<Merged, Side>,
    ) {
        let Event { user_id, item_id, behavior } = event;
        if let Some(Known { age, city }) = user.profile.get() {
            return out.emit(Merged { user_id, item_id, behavior, age: *age, city });
        }
        user.waiting.push(Waiting { timestamp_ms: context.timestamp_ms(), item_id, behavior: behavior.into() });
        if let Some(oldest) = user.waiting.first().filter(|_| user.waiting.len() > self.waiting_max) {
            let event = Event { user_id, item_id: oldest.item_id, behavior: &oldest.behavior };
            out.side_at(oldest.timestamp_ms, Side::WithoutProfile(event));
            user.waiting.keep_last(self.waiting_max);
        }
    }

    fn process_second(&mut self, profile: Profile, user: &mut User, out: &mut Output<Merged, Side>) {
        let Profile { user_id, age, city } = profile;
        for Waiting { item_id, behavior, .. } in user.waiting.drain() {
            out.emit(Merged { user_id, item_id, behavior: &behavior, age, city });
        }
        user.profile.set(Known { age, city: city.into() });
    }
}

wasmill_sdk::export!(connected_process: UserProfileMerge);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::ConnectedHarness;

    #[test]
    fn events_are_merged_whether_before_or_behind_their_profile() {
        let mut harness =
            ConnectedHarness::<UserProfileMerge>::configured(["userId"], r#"{"waiting_max": 2}"#).expect("a bound");
        let event = |time, user_id, item_id| (time, Event { user_id, item_id, behavior: "pv" });
        let result = harness.run_first([event(1, 7, 10), event(2, 8, 11), event(3, 7, 12), event(4, 7, 13)]);
        assert!(result.emitted::<Merged>().is_empty());
        assert_eq!(result.side::<Event>("without-profile"), [event(1, 7, 10)]);
        let merged = |item_id, city| Merged { user_id: 7, item_id, behavior: "pv", age: 30, city };
        let profile = |city| Profile { user_id: 7, age: 30, city };
        let result = harness.run_second([(5, profile("Bern"))]);
        assert_eq!(result.emitted::<Merged>(), [merged(12, "Bern"), merged(13, "Bern")]);
        harness.run_second([(6, profile("Basel"))]);
        assert_eq!(harness.run_first([event(7, 7, 14)]).emitted::<Merged>(), [merged(14, "Basel")]);
    }
}
