//! The contract's types and functions, generated from the WIT.
//!
//! Guarantees: the types are generated once and shared by all kinds of operator; the exports of a kind end up in a component
//! only if the author's `export!` names that kind. Must not know: records, operators, anything of the author's.

/// The types of the contract and what a guest may ask of the host.
pub mod common {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package wasmill:sdk;
            world common {
                import wasmill:operator/types@0.1.0;
                import wasmill:operator/logging@0.1.0;
                import wasmill:operator/map-state@0.1.0;
            }
        ",
        generate_unused_types: true,
        generate_all,
    });
}

pub use common::wasmill::operator::{logging, map_state, types};

/// The exports of a transform.
pub mod transform {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/transform-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
        },
        pub_export_macro: true,
    });
}

/// The exports of an aggregate.
pub mod aggregate {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/aggregate-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
        },
        pub_export_macro: true,
    });
}

/// The exports of a function over windows.
pub mod process_window {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/process-window-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
            "wasmill:operator/map-state@0.1.0": crate::bindings::map_state,
        },
        pub_export_macro: true,
    });
}

/// The exports of a keyed function.
pub mod keyed_process {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/keyed-process-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
            "wasmill:operator/map-state@0.1.0": crate::bindings::map_state,
        },
        pub_export_macro: true,
    });
}

/// The exports of a keyed function with two inputs.
pub mod connected_process {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/connected-process-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
            "wasmill:operator/map-state@0.1.0": crate::bindings::map_state,
        },
        pub_export_macro: true,
    });
}

/// The exports of a function with a broadcast input.
pub mod broadcast_process {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/broadcast-process-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
            "wasmill:operator/map-state@0.1.0": crate::bindings::map_state,
        },
        pub_export_macro: true,
    });
}

/// The exports of a trigger.
pub mod trigger {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/trigger-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
            "wasmill:operator/map-state@0.1.0": crate::bindings::map_state,
        },
        pub_export_macro: true,
    });
}

/// The exports of a sink.
pub mod sink {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/sink-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
        },
        pub_export_macro: true,
    });
}

/// The exports of an operator that is told of checkpoints.
pub mod checkpoint_listener {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package wasmill:sdk;
            world checkpoint-listener-only {
                export wasmill:operator/checkpoint-listener@0.1.0;
            }
        ",
        pub_export_macro: true,
    });
}

/// The exports of an operator that migrates its state.
pub mod migration {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package wasmill:sdk;
            world migration-only {
                export wasmill:operator/migration@0.1.0;
            }
        ",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
        },
        pub_export_macro: true,
    });
}

pub use aggregate::exports::wasmill::operator::aggregate as exports_of_aggregate;
pub use broadcast_process::exports::wasmill::operator::broadcast_process as exports_of_broadcast_process;
pub use checkpoint_listener::exports::wasmill::operator::checkpoint_listener as exports_of_checkpoint_listener;
pub use connected_process::exports::wasmill::operator::connected_process as exports_of_connected_process;
pub use keyed_process::exports::wasmill::operator::keyed_process as exports_of_keyed_process;
pub use migration::exports::wasmill::operator::migration as exports_of_migration;
pub use process_window::exports::wasmill::operator::process_window as exports_of_process_window;
pub use sink::exports::wasmill::operator::sink as exports_of_sink;
pub use transform::exports::wasmill::operator::transform as exports_of_transform;
pub use trigger::exports::wasmill::operator::trigger as exports_of_trigger;
