use super::*;

/// What becomes of a kubeconfig with this text, as `config` reads it.
async fn read(text: &str) -> Result<(Config, bool), KubeconfigError> {
    of_kubeconfig(Kubeconfig::from_yaml(text)?, &KubeConfigOptions::default()).await
}

#[tokio::test]
async fn only_a_kubeconfig_that_is_absent_or_empty_gives_way_to_the_service_account_of_the_pod() {
    let nowhere = Kubeconfig::read_from("/nowhere/kubeconfig").unwrap_err();
    assert!(is_absent(&nowhere), "{nowhere}");
    for (text, expected) in [
        ("{}", true),
        ("users: [{name: me\nclusters: [", false),
        ("[]", false),
        ("current-context: here", false),
        ("{current-context: here, contexts: [{name: here, context: {cluster: here, user: me}}]}", false),
    ] {
        let error = read(text).await.err().unwrap();
        assert_eq!(is_absent(&error), expected, "{text}: {error}");
    }
}
