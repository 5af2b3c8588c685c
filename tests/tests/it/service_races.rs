//! Requests to a server's jobs that meet: one is held where a plugin is loaded, until the other is done. Must not know how requests come in.
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, mpsc},
};

use wasmill::{
    control::{PluginSource, SourceError},
    job::PluginRef,
    plugin::{LoadError, Plugin},
    service::{EventKind, Jobs, ServiceError, State, Submission},
};

use super::{
    jobs,
    process::{Folder, transactions},
    service::{Server, text},
};

/// What happens before a plugin is found, or is not.
type Hook = Box<dyn FnMut(&PluginRef) -> Result<(), SourceError> + Send>;

/// Finds one plugin, whatever it is called, once the hook has let it.
struct Hooked {
    plugin: Arc<Plugin>,
    hook: Arc<Mutex<Hook>>,
}

impl PluginSource for Hooked {
    fn load(&self, reference: &PluginRef) -> Result<Arc<Plugin>, SourceError> {
        (self.hook.lock().unwrap())(reference)?;
        Ok(self.plugin.clone())
    }
}

/// A server that finds the plugin for fraud detection, and what it asks first.
fn server(directory: &Path) -> (Server, Arc<Mutex<Hook>>, Arc<Plugin>) {
    let hook: Arc<Mutex<Hook>> = Arc::new(Mutex::new(Box::new(|_| Ok(()))));
    let plugin = Plugin::load(jobs::engine(), Path::new(&jobs::plugin("fraud-detection"))).unwrap();
    let source = Hooked { plugin: plugin.clone(), hook: hook.clone() };
    (Server::of(directory, BTreeMap::new(), None, Arc::new(source)), hook, plugin)
}

/// Has whoever loads a plugin say so, and wait.
fn hold(hook: &Mutex<Hook>) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((entered, enter), (leave, left)) = (mpsc::channel(), mpsc::channel());
    *hook.lock().unwrap() = Box::new(move |_| {
        let _ = entered.send(());
        // Whoever holds it may have gone.
        let _ = left.recv();
        Ok(())
    });
    (enter, leave)
}

fn input() -> Folder {
    let mut folder = Folder::new(&transactions(&mut fastrand::Rng::with_seed(5), 300));
    folder.feed_all();
    folder
}

/// States a job has been in, as far as they were told of.
fn states(jobs: &Jobs, id: &str) -> Vec<String> {
    let (events, _) = jobs.events(Some(0));
    let states = events.iter().filter(|event| event.job == id && event.kind == EventKind::State);
    states.map(|event| event.detail["to"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_job_that_is_deleted_while_it_is_to_start_again_does_not_start() {
    let (directory, folder) = (tempfile::tempdir().unwrap(), input());
    let (server, hook, _) = server(directory.path());
    let id = server.submit(&text(&folder, "fraud", true));
    server.until(&id, State::Running);
    server.run(server.jobs.cancel(&id)).unwrap();
    let (entered, leave) = hold(&hook);
    let (jobs, job) = (server.jobs.clone(), id.clone());
    let restarted = server.runtime.spawn(async move { jobs.restart(&job).await });
    entered.recv().unwrap();
    server.run(server.jobs.delete(&id)).unwrap();
    drop(leave);
    let error = server.run(restarted).unwrap().unwrap_err();
    assert_eq!(error.code(), "V0101", "{error}");
    assert_eq!(states(&server.jobs, &id), ["starting", "running", "cancelling", "cancelled"]);
    assert!(server.jobs.list(None, 9).is_empty() && !directory.path().join("jobs").join(&id).exists());
}

#[test]
fn a_plugin_is_needed_from_when_a_job_with_it_is_submitted() {
    let (directory, folder) = (tempfile::tempdir().unwrap(), input());
    let (server, hook, plugin) = server(directory.path());
    let name = jobs::plugin("fraud-detection");
    let submission = || Submission {
        text: text(&folder, "fraud", true).replace(&name, "fraud-detection@1.0.0"),
        ..Submission::default()
    };
    let users = |digest: String, last: fn() -> Result<(), SourceError>| {
        let (jobs, users) = (server.jobs.clone(), Arc::new(Mutex::new(Vec::new())));
        let seen = users.clone();
        *hook.lock().unwrap() = Box::new(move |_| {
            let users = ["fraud-detection@1.0.0", &digest].map(|plugin| jobs.user(plugin));
            let mut seen = seen.lock().unwrap();
            seen.push(users);
            if seen.len() > 1 { last() } else { Ok(()) }
        });
        users
    };
    // Just before it is wanted it is deleted.
    let gone = || Err(LoadError::Unknown("nobody has uploaded it".into()).into());
    let seen = users(plugin.digest().to_owned(), gone);
    let error = server.run(server.jobs.submit(submission())).unwrap_err();
    assert_eq!(error.code(), "P0208", "{error}");
    let wanted = Some("fraud, which is being submitted".to_owned());
    assert_eq!(*seen.lock().unwrap(), [[None, None], [wanted.clone(), wanted.clone()]]);
    assert!(server.jobs.list(None, 9).is_empty() && server.jobs.user(plugin.digest()).is_none());

    let seen = users(plugin.digest().to_owned(), || Ok(()));
    let id = server.run(server.jobs.submit(submission())).unwrap().id;
    assert_eq!(*seen.lock().unwrap(), [[None, None], [wanted.clone(), wanted]]);
    assert_eq!(server.jobs.user(plugin.digest()), Some(format!("fraud {id}")));
}

#[test]
fn cancelling_takes_effect_whatever_becomes_of_checkpoints() {
    let (directory, folder) = (tempfile::tempdir().unwrap(), input());
    let text = text(&folder, "fraud", true).replace("50ms", "1h, on_cancel: delete");
    let (server, ..) = server(directory.path());
    let id = server.submit(&text);
    let checkpoints = directory.path().join("jobs").join(&id).join("checkpoints");
    server.until(&id, State::Running);
    std::fs::remove_dir_all(&checkpoints).unwrap();
    std::fs::write(&checkpoints, "no folder").unwrap();
    let job = server.run(server.jobs.cancel(&id)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(job.state, State::Cancelled);
}

#[test]
fn a_job_that_is_cancelled_before_it_is_prepared_has_its_checkpoints_deleted_too() {
    let (directory, folder) = (tempfile::tempdir().unwrap(), input());
    let text = text(&folder, "fraud", true).replace("50ms", "50ms, on_cancel: delete");
    let (first, ..) = server(directory.path());
    let id = first.submit(&text);
    first.until(&id, State::Running);
    first.run(first.jobs.checkpoint(&id)).unwrap();
    first.crash();
    let manifests = directory.path().join("jobs").join(&id).join("checkpoints/manifests");
    assert!(manifests.read_dir().unwrap().next().is_some());

    let hook: Arc<Mutex<Hook>> = Arc::new(Mutex::new(Box::new(|_| Ok(()))));
    let (entered, leave) = hold(&hook);
    let plugin = Plugin::load(jobs::engine(), Path::new(&jobs::plugin("fraud-detection"))).unwrap();
    let server = Server::of(directory.path(), BTreeMap::new(), None, Arc::new(Hooked { plugin, hook }));
    // Goes before the server, whose end waits for whoever is held.
    let leave = leave;
    entered.recv().unwrap();
    assert_eq!(server.jobs.get(&id).unwrap().state, State::Starting);
    let job = server.run(server.jobs.cancel(&id)).unwrap_or_else(|error| panic!("{error}"));
    drop(leave);
    assert_eq!(job.state, State::Cancelled);
    assert!(!manifests.exists() || manifests.read_dir().unwrap().next().is_none());
}

#[test]
fn a_savepoint_is_not_written_where_the_server_or_another_job_keeps_what_is_theirs() {
    let (directory, folder) = (tempfile::tempdir().unwrap(), input());
    let (server, ..) = server(directory.path());
    let ids = ["a", "b"].map(|name| {
        let id = server.submit(&text(&folder, name, true).replace("/alerts'", &format!("/alerts-{name}'")));
        server.until(&id, State::Running);
        id
    });
    let other = format!("../{}/savepoints/x", ids[1]);
    let refused = |done: Result<std::path::PathBuf, ServiceError>, what: &str| {
        assert_eq!(done.unwrap_err().code(), "V0114", "{what}");
    };
    let absolute = directory.path().join("registry/plugins/x").display().to_string();
    for path in ["../../registry/plugins/x", &other, &absolute, "savepoints/../../../audit"] {
        refused(server.run(server.jobs.savepoint(&ids[0], Some(path.into()))), path);
    }
    assert!(!directory.path().join("registry").exists() && !directory.path().join("audit").exists());
    let own = server.run(server.jobs.savepoint(&ids[0], Some("savepoints/own".into()))).unwrap();
    assert!(own.starts_with(directory.path().join("jobs").join(&ids[0])) && own.join("manifests").is_dir());
    let into = directory.path().join("registry").display().to_string();
    let text = text(&folder, "c", true).replace(&folder.path("alerts").display().to_string(), &into);
    let error = server.run(server.jobs.submit(Submission { text, ..Submission::default() })).unwrap_err();
    assert_eq!(error.code(), "V0114", "{error}");
    assert_eq!(server.jobs.list(None, 9).len(), 2);
}
