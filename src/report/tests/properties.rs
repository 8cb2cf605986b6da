//! What holds for any report, and for any text.

use proptest::prelude::*;

use super::*;

/// Texts as they might come: ordinary ones, and any at all.
fn text(longest: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9 %\"'~.\\\\-]{1,40}".boxed(),
        prop::collection::vec(any::<char>(), 1..longest / 4).prop_map(|chars| chars.into_iter().collect()).boxed(),
    ]
}

/// Files, and what became of some of them in some order.
fn reports() -> impl Strategy<Value = (Vec<Assignment>, Vec<Entry>)> {
    let file = (text(120), prop::option::of(text(60)));
    let files = prop::collection::vec(file.prop_map(|(name, kind)| assignment(&name, kind.as_deref())), 1..8);
    files.prop_flat_map(|files| {
        let entry = |(file, assignment): (usize, &Assignment)| {
            let (name, kind) = (assignment.file_name.clone(), assignment.content_type.clone());
            let stem = prop_oneof![Just(format!("inputs/{TEAM}/{}/aW1h/", token(file))), text(300)];
            let key = (stem, any::<bool>()).prop_map(move |(stem, named)| if named { stem + &name } else { stem });
            let kind = kind
                .map_or_else(|| prop_oneof![Just("image/png".to_owned()), text(60)].boxed(), |kind| Just(kind).boxed());
            let stored = (key, kind, any::<u64>(), any::<u128>(), 0..4_000_000_000_i64).prop_map(
                move |(file_key, content_type, size, digest, at)| Entry::Uploaded {
                    file,
                    upload: Upload {
                        file_key,
                        content_type,
                        size,
                        sha256: format!("{digest:032x}{digest:032x}"),
                        at: Timestamp::from_second(at).unwrap(),
                    },
                },
            );
            let message = prop_oneof![Just(String::new()), Just("the same".to_owned()), text(60)];
            let retry = prop::option::of(0..9_999_999_u64);
            let failure = (prop::sample::select(Reason::ALL), message, retry, any::<bool>())
                .prop_map(move |(reason, message, retry, all)| failed((!all).then_some(file), reason, &message, retry));
            prop_oneof![stored, failure].boxed()
        };
        let entries: Vec<_> = files.iter().enumerate().map(entry).collect();
        (Just(files), entries.prop_shuffle())
    })
}

proptest! {
    // What failed is printed; files of seeds in the tree say less.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_reads_back_and_any_prefix_reads_as_its_beginning((files, entries) in reports(), cut in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, files.clone(), 0..files.len());
        let kept: Vec<Entry> = entries.into_iter().filter(|entry| {
            let room = reserve(&mut writer, entry).is_ok();
            if room { writer.append(entry).unwrap(); }
            room
        }).collect();
        writer.as_mut().finish().unwrap();
        prop_assert!(out.len() <= LIMIT);
        let text = std::str::from_utf8(&out).unwrap();
        prop_assert_eq!(text.matches('\n').count(), kept.len() + 1);
        let report = read(text, &files).unwrap();
        prop_assert_eq!(&report.entries, &kept);
        prop_assert!(!report.garbled);
        let torn = String::from_utf8_lossy(&out[..cut.index(out.len() + 1)]).into_owned();
        match read(&torn, &files) {
            Ok(report) => {
                prop_assert!(!report.garbled && kept.starts_with(&report.entries));
                prop_assert_eq!(report.entries.len() + 1, torn.matches('\n').count());
            }
            Err(unreadable) => {
                prop_assert_eq!(unreadable, Unreadable::Missing);
                prop_assert!(!torn.contains('\n'));
            }
        }
    }

    #[test]
    fn garbage_never_panics((files, entries) in reports(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6)) {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, files.clone(), 0..files.len());
        for entry in &entries {
            if reserve(&mut writer, entry).is_ok() { writer.append(entry).unwrap(); }
        }
        for (at, byte, kind) in changes {
            // The version stays, or there would be nothing to read.
            let at = VERSION.len() + at.index((out.len() - VERSION.len()).max(1));
            match kind {
                0 if at < out.len() => out[at] = byte,
                1 if at < out.len() => drop(out.remove(at)),
                2 => out.truncate(at),
                _ => out.insert(at, byte),
            }
        }
        for entry in read(&String::from_utf8_lossy(&out), &files).unwrap_or_default().entries {
            match entry {
                Entry::Uploaded { file, upload } => prop_assert!(file < files.len() && upload.sha256.len() == 64),
                Entry::Failed { file, .. } => prop_assert!(file.is_none_or(|file| file < files.len())),
            }
        }
    }

    #[test]
    fn no_text_of_a_reports_length_gives_a_key_that_is_too_long(parts in prop::collection::vec((0..=100_usize, prop::bool::weighted(0.1), 0..600_usize), 1..60)) {
        let (mut text, mut stem) = (format!("{VERSION}\n"), 0);
        for (percent, overlap, middle) in parts {
            // The whole stem before, or more of it than there is.
            let head = stem * percent / 100;
            let tail = if overlap { stem } else { stem - head };
            text += &line(head, tail, "", &"k".repeat(middle));
            stem = head + middle + tail;
        }
        text.truncate(LIMIT);
        let report = read(&text, &[assignment("a", None)]).unwrap();
        for entry in report.entries {
            let Entry::Uploaded { upload, .. } = entry else { continue };
            prop_assert!(upload.file_key.chars().count() <= LONGEST_KEY);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(fileupload-report/[12]\n)?([-+=*0-9a-zA-Z ~.:\"\\\\]|full\n|limited\n|\n|[\\PC]){0,200}") {
        let _ = read(&text, &[assignment("a", None), assignment("b", Some("c/d"))]);
    }
}
