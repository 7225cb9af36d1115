//! Scenario in, decisions out. Each file of `scenarios/` says in its first line what it shows.

mod common;

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let text = include_str!(concat!("scenarios/", stringify!($name), ".txt"));
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), common::run(text));
            });
        })*

        #[test]
        fn every_file_is_run() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
            let mut files: Vec<String> = std::fs::read_dir(folder)
                .expect("the folder of scenarios")
                .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
                .collect();
            files.sort();
            let mut named = vec![$(concat!(stringify!($name), ".txt")),*];
            named.sort_unstable();
            assert_eq!(files, named);
        }
    };
}

scenarios! {
    order best_fit small_devices_first bytes_present
    gang gang_blocks_nobody gang_not_starved
    avoid unavailable withheld no_nodes
    explain_fewer_devices explain_fewer_nodes explain_models explain_uncordon explain_cpu explain_wait
    ever_fits
}
