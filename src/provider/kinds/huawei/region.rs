//! The addresses of a region's services.
//!
//! Used by [`settings`](super::settings) where `base_url` or `iam_url` is not set. A region of an unknown form
//! is an error: a guessed address could belong to somebody else, and requests carry credentials.
//! Source: "Regions and Endpoints" of Huawei Cloud, of Open Telekom Cloud and of Swiss Open Telekom Cloud.

use crate::provider::service_url::ServiceUrl;

/// The host names of IAM differ in some regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RegionalService {
    /// The first part of the host name, such as `dli`.
    Named(&'static str),
    Iam,
}

const UNKNOWN_REGION: &str = "is not a known region, such as \"cn-north-4\"; for another region set \
     base_url, and iam_url if auth has a user";

/// The prefixes of Huawei Cloud's regions outside Europe.
const HUAWEI_CLOUD_PREFIXES: [&str; 11] =
    ["ae", "af", "ap", "cn", "la", "me", "my", "na", "ru", "sa", "tr"];

/// The address of a service in a region.
pub(super) fn service_url(
    service: RegionalService,
    region: &str,
) -> Result<ServiceUrl, &'static str> {
    let domain = domain(region).ok_or(UNKNOWN_REGION)?;
    let name = match service {
        RegionalService::Named(name) => name,
        RegionalService::Iam if domain == SWISS_OTC => "iam-pub",
        RegionalService::Iam => "iam",
    };
    ServiceUrl::try_from(format!("https://{name}.{region}.{domain}"))
}

const SWISS_OTC: &str = "sc.otc.t-systems.com";

fn domain(region: &str) -> Option<&'static str> {
    match region {
        "eu-west-101" => Some("myhuaweicloud.eu"),
        "eu-de" | "eu-nl" => Some("otc.t-systems.com"),
        "eu-ch2" => Some(SWISS_OTC),
        _ => is_huawei_cloud(region).then_some("myhuaweicloud.com"),
    }
}

/// Whether the region has the form of Huawei Cloud's regions, `ap-southeast-3`.
fn is_huawei_cloud(region: &str) -> bool {
    let mut parts = region.splitn(3, '-');
    let (Some(prefix), Some(place), Some(number)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let all = |text: &str, is_allowed: fn(&u8) -> bool| {
        !text.is_empty() && text.as_bytes().iter().all(is_allowed)
    };
    HUAWEI_CLOUD_PREFIXES.contains(&prefix)
        && all(place, u8::is_ascii_lowercase)
        && all(number, u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_its_own_addresses() {
        let cases = [
            ("cn-north-4", "dli.cn-north-4.myhuaweicloud.com", "iam.cn-north-4.myhuaweicloud.com"),
            (
                "ap-southeast-3",
                "dli.ap-southeast-3.myhuaweicloud.com",
                "iam.ap-southeast-3.myhuaweicloud.com",
            ),
            ("af-south-1", "dli.af-south-1.myhuaweicloud.com", "iam.af-south-1.myhuaweicloud.com"),
            ("la-north-2", "dli.la-north-2.myhuaweicloud.com", "iam.la-north-2.myhuaweicloud.com"),
            (
                "sa-brazil-1",
                "dli.sa-brazil-1.myhuaweicloud.com",
                "iam.sa-brazil-1.myhuaweicloud.com",
            ),
            (
                "na-mexico-1",
                "dli.na-mexico-1.myhuaweicloud.com",
                "iam.na-mexico-1.myhuaweicloud.com",
            ),
            ("me-east-1", "dli.me-east-1.myhuaweicloud.com", "iam.me-east-1.myhuaweicloud.com"),
            ("tr-west-1", "dli.tr-west-1.myhuaweicloud.com", "iam.tr-west-1.myhuaweicloud.com"),
            (
                "ru-northwest-2",
                "dli.ru-northwest-2.myhuaweicloud.com",
                "iam.ru-northwest-2.myhuaweicloud.com",
            ),
            ("eu-west-101", "dli.eu-west-101.myhuaweicloud.eu", "iam.eu-west-101.myhuaweicloud.eu"),
            ("eu-de", "dli.eu-de.otc.t-systems.com", "iam.eu-de.otc.t-systems.com"),
            ("eu-nl", "dli.eu-nl.otc.t-systems.com", "iam.eu-nl.otc.t-systems.com"),
            ("eu-ch2", "dli.eu-ch2.sc.otc.t-systems.com", "iam-pub.eu-ch2.sc.otc.t-systems.com"),
        ];
        for (region, service_host, iam_host) in cases {
            let host = |service| {
                let url = service_url(service, region).expect(region).into_url();
                url.host_str().expect("a host").to_owned()
            };
            assert_eq!(host(RegionalService::Named("dli")), service_host);
            assert_eq!(host(RegionalService::Iam), iam_host);
        }
    }

    #[test]
    fn another_region_is_refused_with_a_word_about_base_url() {
        let regions = [
            "",
            "eu",
            "eu-de2",
            "eu-ch1",
            "eu-west-0",
            "eu-west-1",
            "us-east-1",
            "EU-DE",
            "CN-north-4",
            "cn-north-4.evil.example",
            "cn-north-4/",
            "cn-north-",
            "cn--4",
            "cn-north-4a",
            "cn-north_4",
            "cn-north-4-1",
            "eu-de_project",
            " eu-de",
        ];
        for region in regions {
            let error = service_url(RegionalService::Named("dli"), region).expect_err(region);
            assert!(error.contains("base_url"), "{region}: {error}");
        }
    }
}
