// SPDX-License-Identifier: GPL-2.0-only

//! Every input of the corpus through its target, without a fuzzer.

use std::{fs, path::Path};

use fuzz::{image, TARGETS};

#[test]
fn no_input_breaks_a_rule() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has a corpus");
    }
}

#[test]
fn no_prefix_of_an_input_breaks_a_rule() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in TARGETS {
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let input = fs::read(entry.unwrap().path()).unwrap();
            for len in (0..input.len()).step_by(7) {
                run(&input[..len]);
            }
        }
    }
}

/// The seeds are images of this version of the format; `RVFIO_WRITE_SEEDS=1` writes them anew.
#[test]
fn the_seeds_are_what_the_writer_writes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/image");
    for (name, seed) in image::seeds() {
        let path = corpus.join(name);
        if std::env::var_os("RVFIO_WRITE_SEEDS").is_some() {
            fs::write(&path, &seed).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), seed, "{name}");
    }
}
