// SPDX-License-Identifier: GPL-2.0-only

//! What is known of a device at one time.

use std::fmt;

use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;

use super::clock::Time;
use super::source::Reading;
use super::status::Status;
use crate::pci::Address;

/// A reading, with rates since the one before.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// When it was taken.
    pub time: Time,
    /// Device.
    pub address: Address,
    /// Name of its driver.
    pub driver: String,
    /// What the driver shows.
    #[serde(flatten)]
    pub status: Status,
    /// Bytes handed out in a second; `None` in the first sample.
    pub saved_per_second: Option<u64>,
    /// Bytes taken in a second; `None` in the first sample.
    pub loaded_per_second: Option<u64>,
}

impl Sample {
    /// Makes a sample of a reading.
    pub fn new(time: Time, address: Address, reading: Reading, before: Option<&Self>) -> Self {
        let Reading { driver, status } = reading;
        let rate = |counter: fn(&Status) -> u64| {
            let before = before?;
            let elapsed = time.elapsed.saturating_sub(before.time.elapsed);
            // The counters start anew when a device is bound again.
            let more = counter(&status).saturating_sub(counter(&before.status));
            // CAST: neither needs to be more exact.
            (!elapsed.is_zero()).then(|| (more as f64 / elapsed.as_secs_f64()).round() as u64)
        };
        Self {
            time,
            address,
            saved_per_second: rate(|status| status.bytes_saved),
            loaded_per_second: rate(|status| status.bytes_loaded),
            driver,
            status,
        }
    }
}

/// The block for a terminal.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status {
            state,
            protocol,
            pending_bytes,
            dirty_pages,
            images_saved,
            bytes_saved,
            images_loaded,
            bytes_loaded,
            last_error,
        } = &self.status;
        let moved = |bytes: u64, images: u64, rate: Option<u64>| {
            format!(
                "{} of images, {images} whole, {}/s",
                BinaryBytes(bytes),
                BinaryBytes(rate.unwrap_or(0))
            )
        };
        writeln!(f, "{}  {}", self.address, self.driver)?;
        writeln!(f, "  state        {state}")?;
        writeln!(f, "  protocol     {protocol}")?;
        writeln!(f, "  pending      {}", BinaryBytes(*pending_bytes))?;
        let saved = moved(*bytes_saved, *images_saved, self.saved_per_second);
        writeln!(f, "  saved        {saved}")?;
        let loaded = moved(*bytes_loaded, *images_loaded, self.loaded_per_second);
        writeln!(f, "  loaded       {loaded}")?;
        match dirty_pages {
            Some(pages) => writeln!(f, "  dirty pages  {}", HumanCount(*pages))?,
            None => writeln!(f, "  dirty pages  not tracked")?,
        }
        let error = last_error.as_deref().unwrap_or("none");
        write!(f, "  last error   {error}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::clock::Clock;
    use super::super::status::SAMPLE;
    use super::*;

    fn sample(milliseconds: u64, saved: u64, before: Option<&Sample>) -> Sample {
        let text = SAMPLE.replace("8720", &saved.to_string());
        let reading = Reading {
            driver: "edu_vfio_pci".into(),
            status: text.parse().unwrap(),
        };
        let clock = Clock::at(Duration::ZERO, Duration::from_secs(1000));
        let time = clock.time(Duration::from_millis(milliseconds));
        Sample::new(time, "00:04.0".parse().unwrap(), reading, before)
    }

    #[test]
    fn rates_are_bytes_in_a_second_since_the_sample_before() {
        let first = sample(1000, 4096, None);
        assert_eq!(first.saved_per_second, None);
        let second = sample(1500, 8192, Some(&first));
        assert_eq!(second.saved_per_second, Some(8192));
        assert_eq!(second.loaded_per_second, Some(0));
        // Bound again, and read twice at a time.
        assert_eq!(sample(2000, 0, Some(&second)).saved_per_second, Some(0));
        assert_eq!(sample(1500, 9000, Some(&second)).saved_per_second, None);
    }

    #[test]
    fn json_has_the_names_that_the_driver_gives() {
        let json = serde_json::to_value(sample(250, 8720, None)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "time": 1000.25,
                "address": "0000:00:04.0",
                "driver": "edu_vfio_pci",
                "state": "PRE_COPY",
                "protocol": "region-2018",
                "pending_bytes": 4460,
                "dirty_pages": 17,
                "images_saved": 1,
                "bytes_saved": 8720,
                "images_loaded": 0,
                "bytes_loaded": 0,
                "last_error": null,
                "saved_per_second": null,
                "loaded_per_second": null,
            })
        );
    }

    #[test]
    fn a_terminal_gets_a_block() {
        let first = sample(0, 0, None);
        assert_eq!(
            sample(2000, 8192, Some(&first)).to_string(),
            "\
0000:00:04.0  edu_vfio_pci
  state        PRE_COPY
  protocol     region-2018
  pending      4.36 KiB
  saved        8.00 KiB of images, 1 whole, 4.00 KiB/s
  loaded       0 B of images, 0 whole, 0 B/s
  dirty pages  17
  last error   none"
        );
    }
}
