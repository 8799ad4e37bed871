// SPDX-License-Identifier: GPL-2.0-only

//! The states of the migration region and which of them may follow which.

use kernel::prelude::*;

/// A value of `device_state`, as `enum vfio_device_migration_state` numbers them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum DeviceState {
    /// Stopped, no migration under way.
    None = 0,
    /// Running.
    Running = 1,
    /// Running, a save has begun, dirty pages are recorded.
    Setup = 2,
    /// Running, handing out what can go now.
    Precopy = 3,
    /// Stopped, handing out what is left.
    Stopncopy = 4,
    /// Stopped, the save is over.
    SaveCompleted = 5,
    /// Stopped, taking a state.
    Resume = 6,
    /// Stopped, the state is loaded.
    ResumeCompleted = 7,
    /// The client gives up; no client reads this back.
    Failed = 8,
    /// The client gives up; no client reads this back.
    Cancelled = 9,
}

impl DeviceState {
    /// Every state, in the order of the numbers.
    pub const ALL: [DeviceState; 10] = [
        DeviceState::None,
        DeviceState::Running,
        DeviceState::Setup,
        DeviceState::Precopy,
        DeviceState::Stopncopy,
        DeviceState::SaveCompleted,
        DeviceState::Resume,
        DeviceState::ResumeCompleted,
        DeviceState::Failed,
        DeviceState::Cancelled,
    ];

    /// Returns the number that stands for the state in the uAPI.
    pub const fn number(self) -> u32 {
        // CAST: the enum is `repr(u32)` and has no fields.
        self as u32
    }
}

impl TryFrom<u32> for DeviceState {
    type Error = Error;

    /// Returns the state that `number` stands for in the uAPI; `EINVAL` if it stands for none.
    fn try_from(number: u32) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|state| state.number() == number)
            .ok_or(EINVAL)
    }
}

/// What the device has to do for a change of state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// It stops; no migration.
    Stop,
    /// It runs; a migration on the source is over, with nothing lost.
    Run,
    /// It goes on running; a save begins, dirty pages are recorded.
    Setup,
    /// It goes on running and hands out what can go now.
    Precopy,
    /// It stops and hands out what is left.
    StopAndCopy,
    /// It stays stopped; the whole state was handed out.
    CompleteSave,
    /// It is reset, stopped and takes a state.
    Resume,
    /// It stays stopped; the state is loaded.
    CompleteResume,
    /// It throws the partial state away and runs as after a reset.
    Discard,
}

/// Returns the action that leads from state `from` to `to`; `EINVAL` if none does.
///
/// A write of the state that the device is in asks for the action that leads there, and is
/// harmless. The client may give up in any state: it need not know how far it came.
///
/// [`DeviceState::Setup`] does not follow [`DeviceState::None`]: the device of a paused guest must
/// not run, and a stopped device writes no pages that would have to be recorded.
pub fn action(from: DeviceState, to: DeviceState) -> Result<Action> {
    use DeviceState::*;

    Ok(match (from, to) {
        (None | Running, None) => Action::Stop,

        (Running | None | Setup | Precopy, Running) => Action::Run,
        (Stopncopy | SaveCompleted | ResumeCompleted, Running) => Action::Run,

        (Running | Setup, Setup) => Action::Setup,
        (Setup | Precopy, Precopy) => Action::Precopy,
        (Running | None | Setup | Precopy | Stopncopy, Stopncopy) => Action::StopAndCopy,
        (Stopncopy | SaveCompleted, SaveCompleted) => Action::CompleteSave,

        (Running | None | Resume, Resume) => Action::Resume,
        (Resume | ResumeCompleted, ResumeCompleted) => Action::CompleteResume,

        (Resume | ResumeCompleted, Failed | Cancelled) => Action::Discard,
        (_, Failed | Cancelled) => Action::Run,

        _ => return Err(EINVAL),
    })
}
