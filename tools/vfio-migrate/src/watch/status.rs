// SPDX-License-Identifier: GPL-2.0-only

//! The driver's file about one device, as `Documentation/ABI/debugfs-rvfio` describes it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result};

/// What the driver knows of a device's migration.
///
/// State and protocol are the driver's words: a later driver may have more of them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Status {
    /// State of the device.
    pub state: String,
    /// Protocol that owns it.
    pub protocol: String,
    /// Bytes of the image under way that are left.
    pub pending_bytes: u64,
    /// Dirty pages that no query has reported, if the device tracks them.
    pub dirty_pages: Option<u64>,
    /// Images handed out.
    pub images_saved: u64,
    /// Bytes of images handed out.
    pub bytes_saved: u64,
    /// Images applied.
    pub images_loaded: u64,
    /// Bytes of images taken.
    pub bytes_loaded: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self {
            state: value(text, "state")?.to_owned(),
            protocol: value(text, "protocol")?.to_owned(),
            pending_bytes: number(text, "pending_bytes")?,
            dirty_pages: match value(text, "dirty_pages")? {
                "not tracked" => None,
                _ => Some(number(text, "dirty_pages")?),
            },
            images_saved: number(text, "images_saved")?,
            bytes_saved: number(text, "bytes_saved")?,
            images_loaded: number(text, "images_loaded")?,
            bytes_loaded: number(text, "bytes_loaded")?,
            last_error: match value(text, "last_error")? {
                "none" => None,
                error => Some(error.to_owned()),
            },
        })
    }
}

fn value<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
        .ok_or_else(|| Error::Protocol(format!("the driver's status has no line '{name}'")))
}

fn number(text: &str, name: &str) -> Result<u64> {
    let value = value(text, name)?;
    value.parse().map_err(|_| {
        Error::Protocol(format!(
            "'{name}' of the driver's status is '{value}' and not a number"
        ))
    })
}

/// All on one line, under the names that the driver gives.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            state,
            protocol,
            pending_bytes,
            dirty_pages,
            images_saved,
            bytes_saved,
            images_loaded,
            bytes_loaded,
            last_error,
        } = self;
        write!(
            f,
            "state={state} protocol={protocol} pending_bytes={pending_bytes} "
        )?;
        match dirty_pages {
            Some(pages) => write!(f, "dirty_pages={pages} ")?,
            None => f.write_str("dirty_pages=untracked ")?,
        }
        write!(
            f,
            "images_saved={images_saved} bytes_saved={bytes_saved} images_loaded={images_loaded} \
             bytes_loaded={bytes_loaded} last_error={}",
            last_error.as_deref().unwrap_or("none")
        )
    }
}

#[cfg(test)]
pub const SAMPLE: &str = "\
state: PRE_COPY
protocol: region-2018
pending_bytes: 4460
dirty_pages: 17
images_saved: 1
bytes_saved: 8720
images_loaded: 0
bytes_loaded: 0
last_error: none
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_driver_writes() {
        let status: Status = SAMPLE.parse().unwrap();
        assert_eq!(
            status,
            Status {
                state: "PRE_COPY".into(),
                protocol: "region-2018".into(),
                pending_bytes: 4460,
                dirty_pages: Some(17),
                images_saved: 1,
                bytes_saved: 8720,
                images_loaded: 0,
                bytes_loaded: 0,
                last_error: None,
            }
        );
        assert_eq!(
            status.to_string(),
            "state=PRE_COPY protocol=region-2018 pending_bytes=4460 dirty_pages=17 images_saved=1 \
             bytes_saved=8720 images_loaded=0 bytes_loaded=0 last_error=none"
        );
    }

    #[test]
    fn reads_words_in_place_of_numbers_and_keeps_colons() {
        let text = SAMPLE
            .replace("17", "not tracked")
            .replace("none", "image refused: checksum: wrong");
        let status: Status = text.parse().unwrap();
        assert_eq!(status.dirty_pages, None);
        assert_eq!(
            status.last_error.as_deref(),
            Some("image refused: checksum: wrong")
        );
        assert!(status.to_string().contains("dirty_pages=untracked"));
    }

    #[test]
    fn later_drivers_may_write_more_in_another_order() {
        let mut lines: Vec<&str> = SAMPLE.lines().collect();
        lines.reverse();
        lines.insert(3, "state_changes: 12");
        lines.push("no colon");
        assert_eq!(
            lines.join("\n").parse::<Status>().unwrap(),
            SAMPLE.parse().unwrap()
        );
    }

    #[test]
    fn what_is_missing_or_no_number_is_named() {
        for name in SAMPLE.lines().filter_map(|line| line.split(':').next()) {
            let text = SAMPLE.replace(&format!("{name}:"), "other:");
            let error = text.parse::<Status>().unwrap_err();
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = SAMPLE.replace("4460", "-1").parse::<Status>().unwrap_err();
        assert!(error.to_string().contains("'-1'"), "{error}");
        assert!("".parse::<Status>().is_err());
    }
}
