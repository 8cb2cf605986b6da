//! Command lines of the program in examples, README and docs: each is one that the program understands.
//!
//! They are run without a credential, so that the program gets as far as asking for it and no further. What an engine
//! would fill in stands for one word, or for none where it is a list.

use std::path::Path;

use serde_json::Value;

use crate::support::process::Run;
use crate::support::tree::files_below;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// The arguments of containers that run the program, in any manifest.
fn containers(value: &Value, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => {
            if fields.get("command") == Some(&serde_json::json!(["/fileupload"])) {
                let words = fields["args"].as_array().unwrap().iter();
                found.push(words.map(|word| word.as_str().unwrap().to_owned()).collect());
            }
            fields.values().for_each(|field| containers(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| containers(item, found)),
        _ => {}
    }
}

/// The arguments of a shell's line that runs `fileupload upload`; what comes out of it is not ours.
fn of_line(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches(['$', '-', ' ']).split(['>', '|', '#']).next()?;
    let mut words = line.split_whitespace();
    let program = words.next()?;
    let is_ours = program == "fileupload" || program.ends_with("/fileupload");
    let words: Vec<String> = words.map(|word| word.trim_matches('"').to_owned()).collect();
    (is_ours && words.first().is_some_and(|word| word == "upload")).then_some(words)
}

/// With a word in place of what an engine fills in.
fn filled(word: &str) -> Option<String> {
    let mut text = word.to_owned();
    for (begin, end) in [("{{", "}}"), ("$(", ")"), ("${", "}")] {
        while let Some(at) = text.find(begin) {
            let length = text[at..].find(end).unwrap_or_else(|| panic!("{word} has no {end}")) + end.len();
            if text[at..at + length].contains("[*]") {
                return None;
            }
            text.replace_range(at..at + length, "word");
        }
    }
    Some(text)
}

#[tokio::test]
async fn every_upload_of_examples_and_docs_is_understood_by_the_program() {
    let top = Path::new(TOP);
    let mut files = files_below(&top.join("examples"));
    files.extend(files_below(&top.join("docs")));
    files.push(top.join("README.md"));
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut found: Vec<Vec<String>> = text.lines().filter_map(of_line).collect();
        if file.extension().is_some_and(|extension| extension == "yaml") {
            let documents = text.split("\n---\n").map(serde_yaml::from_str::<Value>);
            for document in documents {
                containers(&document.unwrap_or_else(|error| panic!("{}: {error}", file.display())), &mut found);
            }
        }
        lines.extend(found.into_iter().map(|words| (file.clone(), words)));
    }
    assert!(lines.len() >= 6, "only {} command lines were found", lines.len());
    for (file, words) in lines {
        let words: Vec<String> = words.iter().filter_map(|word| filled(word)).collect();
        let run = words[1..].iter().fold(Run::of(&words[0]), Run::argument);
        let ended = run.run().await.failed(2);
        assert!(ended.stderr.contains("CYBERUN_API_KEY is not set"), "{}: {words:?}: {}", file.display(), ended.stderr);
    }
}

#[test]
fn the_image_of_examples_and_readme_is_of_this_version() {
    let mut found = 0;
    let mut files = files_below(&Path::new(TOP).join("examples"));
    files.push(Path::new(TOP).join("README.md"));
    for file in files {
        for part in std::fs::read_to_string(&file).unwrap().split("fileupload-operator:").skip(1) {
            let tag: String = part.chars().take_while(|c| !c.is_whitespace()).collect();
            assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{}", file.display());
            found += 1;
        }
    }
    assert!(found >= 3, "only {found} images were found");
}
