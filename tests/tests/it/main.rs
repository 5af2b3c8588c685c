//! The end-to-end tests, one program: whole jobs with real plugins, the command line, and the rules of the repository itself.
mod backpressure;
mod broadcast;
mod cli;
mod golden;
mod guests;
mod hostile;
mod idle;
mod jobs;
mod kill;
mod new_plugin;
mod oracle;
mod process;
mod recovery;
mod refused;
mod savepoints;
mod tidy;
mod windows;
