//! What the tests start: a zygote or a shim, as the product's binary would be, or an agent that
//! launches the worker folders named on its standard input and answers a line for each.

use std::io::BufRead;
use std::path::Path;

fn main() {
    runyard_runtime::dispatch();
    let launcher = runyard_runtime::Launcher::from_this_binary().expect("a launcher");
    println!("zygote {}", launcher.zygote_pid().expect("a zygote"));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        match launcher.launch(Path::new(&line), &[]) {
            Ok(()) => println!("ok"),
            Err(e) => println!("error {e}"),
        }
    }
}
