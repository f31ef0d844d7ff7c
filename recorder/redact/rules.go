package redact

// builtins are the rules that need no configuration, in the order in which
// they are asked; the first to mask a character gives the mask its name.
var builtins = []struct {
	name    string
	anchors []anchor
}{
	{"private-key", []anchor{{kind: kindKey, text: "-----BEGIN "}}},
	{"aws-access-key-id", tokens(upperDigit, 16, "AKIA", "ASIA", "ABIA", "ACCA")},
	{"aws-secret-access-key", assignments(4,
		"secret_access_key", "secret-access-key", "secretaccesskey", "aws_secret_key", "aws_session_token")},
	{"jwt", []anchor{{kind: kindJWT, text: "eyJ", edge: true, min: 8}}},
	{"github-token", append(
		tokens(alnum, 20, "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
		tokens(alnumUnder, 20, "github_pat_")...)},
	{"gitlab-token", tokens(bearerChar, 16, "glpat-", "gldt-", "glrt-", "glcbt-", "glptt-",
		"glft-", "glsoat-", "glimt-", "glagent-", "gloas-", "glffct-")},
	{"slack-token", append(
		tokens(urlSafe, 10, "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxe-",
			"xoxe.xoxb-", "xoxe.xoxp-", "xapp-"),
		tokens(base64Bare, 20, "hooks.slack.com/services/", "hooks.slack.com/workflows/")...)},
	{"service-token", serviceTokens()},
	{"authorization", append(
		[]anchor{{kind: kindToken, text: "bearer ", fold: true, edge: true, set: bearerChar, min: 16}},
		anchor{kind: kindToken, text: "authorization: basic ", fold: true, set: bearerChar, min: 4},
		anchor{kind: kindToken, text: "authorization: token ", fold: true, set: bearerChar, min: 4})},
	{"url-password", []anchor{{kind: kindURL, text: "://"}}},
	{"password", assignments(2, "password", "passwd", "passphrase", "passwort", "_pwd", ";pwd", "&pwd", "?pwd")},
	{"secret", assignments(4, "secret", "secret_key", "secretkey", "secret-key", "secret_key_base",
		"token", "api_key", "api-key", "apikey", "access_key", "access-key", "accesskey",
		"account_key", "accountkey", "auth_key", "private_key", "encryption_key", "credentials")},
}

// serviceTokens are the prefixes that services give their keys so that they
// are found when they leak.
func serviceTokens() []anchor {
	list := tokens(urlSafe, 30, "AIza")                                           // Google
	list = append(list, tokens(urlSafe, 16, "GOCSPX-")...)                        // Google OAuth
	list = append(list, tokens(bearerChar, 24, "ya29.")...)                       // Google OAuth
	list = append(list, tokens(alnum, 16, "sk_live_", "rk_live_", "sk_test_")...) // Stripe
	list = append(list, tokens(urlSafe, 20, "sk-proj-", "sk-ant-", "sk-svcacct-")...)
	list = append(list, tokens(alnum, 30, "npm_", "hf_")...)
	list = append(list, tokens(urlSafe, 30, "pypi-", "dckr_pat_", "dapi")...)
	list = append(list, tokens(alnum, 32, "dop_v1_", "doo_v1_", "shpat_", "shpss_")...)
	list = append(list, tokens(bearerChar, 20, "hvs.", "hvb.", "SG.")...) // Vault, SendGrid
	return append(list, tokens(upperDigit, 40, "AGE-SECRET-KEY-1")...)
}

func tokens(set charset, minLen int, prefixes ...string) []anchor {
	var list []anchor
	for _, p := range prefixes {
		list = append(list, anchor{kind: kindToken, text: p, edge: true, set: set, min: minLen})
	}
	return list
}

func assignments(minLen int, keys ...string) []anchor {
	var list []anchor
	for _, k := range keys {
		list = append(list, anchor{kind: kindAssign, text: k, fold: true, min: minLen})
	}
	return list
}
