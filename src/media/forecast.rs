//! What each camera would be if all of them were watched at once, full and small.

use serde::Serialize;

use super::admission::importance;
use super::encoders::Encoders;
use super::plan::{self, CapturePlan, Rendition};
use crate::budget::{self, Demand, Picture, Pool};
use crate::config::settings::Camera;
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;

/// The whole.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Forecast {
    /// What the cameras share.
    pub pools: Vec<PoolUse>,
    /// In the order in which they are served.
    pub renditions: Vec<Outlook>,
}

/// Something that encoders share, and what all together take of it.
#[derive(Debug, Clone, Serialize)]
pub struct PoolUse {
    /// What it is.
    #[serde(flatten)]
    pub pool: Pool,
    /// As wished for.
    pub wished: f64,
    /// As granted.
    pub used: f64,
}

/// One rendition.
#[derive(Debug, Clone, Serialize)]
pub struct Outlook {
    /// Whose.
    pub camera: Name,
    /// `main` or `sub`.
    pub rendition: &'static str,
    /// The encoder's template; `passthrough` where the camera encodes it; none: there is none that works.
    pub encoder: Option<String>,
    /// What it would be.
    pub picture: Picture,
    /// Why it would be less than wished for, or not there.
    pub degraded: Option<String>,
}

/// For these cameras in their order, each with what is captured. Blocks while encoders are tried, those of sizes that
/// cameras would have to be reduced to as well.
#[must_use]
pub fn all_watched(cameras: &[(Camera, CapturePlan)], encoders: &Encoders) -> Forecast {
    let mut renditions = Vec::new();
    let mut demands: Vec<(usize, Demand)> = Vec::new();
    let mut kinds = [Rendition::Main, Rendition::Sub];
    kinds.sort_by_key(|rendition| importance(*rendition, Codec::H264));
    let each = cameras.iter().flat_map(|camera| kinds.map(|rendition| (camera, rendition)));
    for ((camera, captured), rendition) in each {
        let (picture, _) = plan::wished(camera, captured, rendition);
        let mut outlook = Outlook {
            camera: camera.name.clone(),
            rendition: rendition.as_str(),
            encoder: None,
            picture,
            degraded: captured.limited.clone(),
        };
        if captured.encoded && captured.transcoded.is_none() && rendition == Rendition::Main {
            outlook.encoder = Some("passthrough".into());
        } else {
            match plan::encoding(camera, captured, rendition, Codec::H264, encoders, None) {
                Ok(recipe) => {
                    let draws = encoders.draws(&recipe, Codec::H264, picture.framerate);
                    demands.push((renditions.len(), Demand { wish: picture, draws }));
                    outlook.encoder = Some(recipe.encoder);
                }
                Err(error) => outlook.degraded = Some(error.to_string()),
            }
        }
        renditions.push((outlook, camera, captured, rendition));
    }
    let wanted: Vec<Demand> = demands.iter().map(|(_, demand)| demand.clone()).collect();
    let grants = budget::admit(&wanted);
    let granted = grants.iter().zip(&wanted).map(|(grant, demand)| (&grant.picture, demand.draws.as_slice()));
    let used = budget::in_use(granted);
    let wished = budget::in_use(wanted.iter().map(|demand| (&demand.wish, demand.draws.as_slice())));
    for ((at, demand), grant) in demands.iter().zip(&grants) {
        let Some((outlook, camera, captured, rendition)) = renditions.get_mut(*at) else { continue };
        if grant.picture == demand.wish {
            continue;
        }
        outlook.picture = grant.picture;
        outlook.degraded =
            outlook.degraded.iter().chain(&grant.why).cloned().reduce(|a, b| format!("{a}; {b}"));
        // So that the encoder has proven itself when it comes to that. What fails is said when somebody watches.
        let _ = plan::encoding(camera, captured, *rendition, Codec::H264, encoders, Some(grant.picture));
    }
    let mut pools: Vec<Pool> =
        wanted.iter().flat_map(|demand| &demand.draws).map(|draw| draw.pool.clone()).collect();
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    pools.dedup_by(|a, b| a.name == b.name);
    let of = |sums: &std::collections::BTreeMap<String, f64>, pool: &Pool| {
        sums.get(&pool.name).copied().unwrap_or_default()
    };
    let pools =
        pools.into_iter().map(|pool| PoolUse { wished: of(&wished, &pool), used: of(&used, &pool), pool });
    Forecast {
        pools: pools.collect(),
        renditions: renditions.into_iter().map(|(outlook, ..)| outlook).collect(),
    }
}
