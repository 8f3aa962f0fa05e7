//! Filling the pool and waiting for it.

use std::time::{Duration, Instant};

use crate::launch::Notice;
use crate::limits::{POOL_FILL_POLL, POOL_FILL_SECONDS_MAX, POOL_VMS_MAX};
use crate::template::place;
use crate::{Code, Failure, LaunchRequest, Pyro, Shape};

impl Pyro {
    /// Fills the pool with VMs of one environment and shape, and waits until they are parked; gives how many are.
    pub async fn fill_pool(
        &self,
        environment: &str,
        shape: Shape,
        mut on_notice: impl FnMut(Notice<'_>),
    ) -> Result<usize, Failure> {
        let size = self.config.pool.min(POOL_VMS_MAX);
        if size == 0 {
            return Err(Failure::new(Code::InvalidArgument, "the pool is switched off")
                .because("PYRO_POOL is 0")
                .fix(format!("set PYRO_POOL to 1 to {POOL_VMS_MAX}, or unset it")));
        }
        let request = LaunchRequest {
            environment: environment.to_owned(),
            shape,
            ttl_seconds: Some(POOL_FILL_SECONDS_MAX.as_secs()),
        };
        let environment = self.installed(environment)?;
        let _hold = environment.hold().map_err(crate::environments::image_failure)?;
        let guest = self.guest(&environment, shape).await?;
        self.ensure_template(&guest, &guest.ready, &mut on_notice).await?;
        let deadline = Instant::now() + POOL_FILL_SECONDS_MAX;
        let mut started = 0;
        loop {
            // Again, since whoever finds a template useless removes it.
            self.ensure_template(&guest, &guest.ready, &mut on_notice).await?;
            started += self.park_missing(&guest, Duration::ZERO)?;
            let lot = place::lot(&guest.ready.directory).unwrap_or_default();
            let census = self.census()?;
            let (parked, there) = (census.parked_in(&lot), census.len_in(&lot));
            if parked >= size {
                return Ok(parked);
            }
            if started >= there + size {
                // As many as there should be have gone: taken by others, or for a reason that one would tell who has
                // somebody to tell it to.
                self.with_pool(0)?.launch(request.clone(), |_| {}).await?.stop().await?;
                started = there;
            }
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Code::System,
                    format!("only {parked} of {size} VMs could be parked in time"),
                )
                .fix("run one with `pyro run` to see what keeps them from coming up"));
            }
            tokio::time::sleep(POOL_FILL_POLL).await;
        }
    }
}
