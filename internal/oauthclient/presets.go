package oauthclient

// Presets is the table of vendors. An entry follows the vendor's documentation; what is marked as unverified is general
// knowledge. Tests use fakes of the vendors, no live tenants.
func Presets() []Preset {
	return []Preset{
		okta(), entra(), cognito(), auth0(), keycloak(), google(), pingone(), dex(), authentik(), zitadel(),
	}
}

func okta() Preset {
	return Preset{
		Name:             "okta",
		DiscoveryExample: "https://acme.okta.com/oauth2/default/.well-known/openid-configuration",
		DiscoveryPath:    `|/oauth2/[^/]+`, // the org's own server (fine here, since only its ID tokens are read) or a custom one
		FormHint:         "take the issuer from Security › API › Authorization Servers and append /.well-known/openid-configuration",
		Scopes:           []string{"profile", "email", offlineAccess},
		RefreshScope:     offlineAccess,
		GroupsClaim:      "groups",
		GroupsHint:       "add a groups claim to the ID token of the authorization server, or of the application when the org's own server is used",
		UserInfo:         true, // unverified: Okta leaves profile claims out of ID tokens that come with an access token
		Mistakes: []Mistake{
			{"User is not assigned", "assign the person, or a group of theirs, to the application in Okta"},
			{"Policy evaluation failed", "add an access policy with a rule for this application to the authorization server in Okta"},
			{"'offline_access'", "switch on the grant Refresh Token in the application's general settings in Okta"},
		},
	}
}

func entra() Preset {
	return Preset{
		Name:             "entra",
		SelectAccount:    true,
		DiscoveryExample: "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0/.well-known/openid-configuration",
		DiscoveryPath:    `/(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|common|organizations)/v2\.0`,
		FormHint:         "use the tenant's id, not its domain name, and the v2.0 endpoint; common and organizations need the list of tenants beside them",
		Scopes:           []string{"profile", "email", offlineAccess},
		RefreshScope:     offlineAccess,
		GroupsClaim:      "groups",
		GroupsHint:       "add the optional claim groups to ID tokens and choose groups assigned to the application; above 200 groups Entra sends none, use app roles (groups_claim: roles)",
		EmailTrust:       EmailNever, // tenants set any address they like
		UserKey:          KeyTenantObject,
		Mistakes: []Mistake{
			{"AADSTS9010010", "Entra refuses a resource parameter; Gatehouse sends none, so look for a proxy or an extra authorize parameter that adds it"},
			{"AADSTS50011", "register Gatehouse's callback URL under Authentication › Web, byte for byte"},
			{"AADSTS7000215", "enter the secret's value, not its id, from Certificates & secrets"},
			{"AADSTS7000222", "the client secret has expired; make a new one under Certificates & secrets"},
			{"AADSTS700016", "the application is not in this tenant: check client id and tenant id"},
			{"AADSTS700027", "upload the certificate of the client key, and set its SHA-256 thumbprint beside the key"}, // unverified
			{"AADSTS65001", "grant admin consent for openid, profile, email and offline_access"},
			{"AADSTS50105", "assign the person to the enterprise application, or switch off assignment required"},
			{"AADSTS50020", "the person's account is of another tenant; use organizations with a list of tenants, or invite them as a guest"},
			{"AADSTS50194", "the application is single-tenant: use the tenant's id instead of common in the discovery URL"},
		},
	}
}

func cognito() Preset {
	return Preset{
		Name:                "cognito",
		DiscoveryExample:    "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI/.well-known/openid-configuration",
		DiscoveryPath:       `/[a-z]{2}(?:-[a-z]+)+-\d+_[0-9A-Za-z]+`,
		FormHint:            "build it from region and user pool id; the domain of the hosted pages is not the issuer",
		Scopes:              []string{"profile", "email"}, // refresh tokens come without a scope
		GroupsClaim:         "cognito:groups",
		GroupsHint:          "groups of the user pool arrive by themselves",
		LogoutRedirectParam: "logout_uri",
		Mistakes: []Mistake{
			{"redirect_mismatch", "add Gatehouse's callback URL to the allowed callback URLs of the app client, byte for byte"},
			{"invalid_scope", "allow the app client the scopes openid, profile and email; Cognito knows no offline_access"},
			{"unauthorized_client", "switch on the authorization code grant for the app client"},
		},
	}
}

func auth0() Preset {
	return Preset{
		Name:              "auth0",
		DiscoveryExample:  "https://acme.eu.auth0.com/.well-known/openid-configuration",
		DiscoveryPath:     `/?`, // the issuer ends in a slash, which discovery tells
		FormHint:          "use the tenant's domain or its custom domain, nothing behind it",
		Scopes:            []string{"profile", "email", offlineAccess},
		RefreshScope:      offlineAccess,
		GroupsClaim:       "", // Auth0 has none of its own
		GroupsHint:        "add an Action that sets a claim under a URL of yours on the ID token, and name it as groups_claim",
		AssertionAudience: AudienceIssuer,
		Mistakes: []Mistake{
			{"Callback URL mismatch", "add Gatehouse's callback URL to Allowed Callback URLs, byte for byte"},
			{"Service not found", "an audience was asked for that Auth0 has no API for; Gatehouse needs none, remove it from the authorize parameters"},
			{"Grant type 'refresh_token'", "switch on the grant Refresh Token under Advanced Settings › Grant Types"},
		},
	}
}

func keycloak() Preset {
	return Preset{
		Name:             "keycloak",
		DiscoveryExample: "https://sso.acme.example/realms/acme/.well-known/openid-configuration",
		DiscoveryPath:    `(?:/[^/]+)*/realms/[^/]+`,
		FormHint:         "it ends in /realms/NAME/.well-known/openid-configuration; old installations have /auth in front",
		Scopes:           []string{"profile", "email", offlineAccess},
		RefreshScope:     "", // offline_access makes it outlive the session at Keycloak; there is one in any case
		GroupsClaim:      "groups",
		GroupsHint:       "add a Group Membership mapper named groups to the client, with Add to ID token; for realm roles set groups_claim: realm_access.roles and switch on Add to ID token there",
		UntypedLogout:    true, // unverified: older versions say typ JWT
		Mistakes: []Mistake{
			{"Offline tokens not allowed", "give the person the realm role offline_access, or leave that scope out"},
			{"Invalid parameter: redirect_uri", "add Gatehouse's callback URL to Valid redirect URIs, byte for byte"},
			{"Invalid client", "switch on Client authentication, and copy the secret from the tab Credentials"},
		},
	}
}

func google() Preset {
	return Preset{
		Name:             "google",
		SelectAccount:    true,
		DiscoveryExample: "https://accounts.google.com/.well-known/openid-configuration",
		DiscoveryPath:    `/?`,
		FormHint:         "Google has just this one",
		Scopes:           []string{"profile", "email"},
		AuthorizeParams:  []Param{{"access_type", "offline"}, {"prompt", "consent"}}, // its way to a refresh token
		LoginPrompt:      "select_account",                                           // unverified: prompt=login is unknown there
		GroupsHint:       "Google puts no groups into tokens; use the claim hd (the Workspace domain) or rules on e-mail addresses",
		OpenToAnybody:    true, // unless the consent screen is internal to a Workspace
		Mistakes: []Mistake{
			{"redirect_uri_mismatch", "add Gatehouse's callback URL to Authorized redirect URIs, byte for byte"},
			{"org_internal", "the consent screen is internal: only accounts of the Workspace may sign in"},
			{"deleted_client", "the OAuth client was deleted in the Google Cloud console"},
		},
	}
}

func pingone() Preset {
	return Preset{
		Name:             "pingone",
		DiscoveryExample: "https://auth.pingone.eu/ENVIRONMENT-ID/as/.well-known/openid-configuration",
		DiscoveryPath:    `(?:/[^/]+)?/as`, // custom domains have no environment id
		FormHint:         "take the issuer from the application's overview; it ends in /as",
		Scopes:           []string{"profile", "email", offlineAccess},
		RefreshScope:     offlineAccess, // unverified: the grant Refresh Token may be enough
		GroupsClaim:      "groups",
		GroupsHint:       "map the attribute groups to Group Names in the application's attribute mappings",
		UserInfo:         true, // unverified
		Mistakes: []Mistake{
			{"Redirect URI mismatch", "add Gatehouse's callback URL to the application's redirect URIs, byte for byte"},
		},
	}
}

func dex() Preset {
	return Preset{
		Name:             "dex",
		DiscoveryExample: "https://dex.acme.example/dex/.well-known/openid-configuration",
		FormHint:         "it is the issuer of Dex's configuration with /.well-known/openid-configuration behind it",
		Scopes:           []string{"profile", "email", "groups", offlineAccess},
		RefreshScope:     offlineAccess,
		GroupsClaim:      "groups",
		GroupsHint:       "groups come from Dex's connector; not every connector has them",
		EndedCodes:       []string{"invalid_request"}, // what Dex answers to a refresh token that is expired, claimed or deleted
		Mistakes: []Mistake{
			{"Unregistered redirect_uri", "add Gatehouse's callback URL to redirectURIs of the static client, byte for byte"},
			{"Unrecognized scope", "remove the scope that Dex does not know"},
		},
	}
}

func authentik() Preset {
	return Preset{
		Name:             "authentik",
		DiscoveryExample: "https://sso.acme.example/application/o/gatehouse/.well-known/openid-configuration",
		DiscoveryPath:    `(?:/[^/]+)*/application/o/[^/]+`, // the issuer ends in a slash, which discovery tells
		FormHint:         "it ends in /application/o/SLUG/.well-known/openid-configuration",
		Scopes:           []string{"profile", "email", offlineAccess},
		RefreshScope:     offlineAccess,
		GroupsClaim:      "groups",
		GroupsHint:       "groups come with the scope profile",
		Mistakes: []Mistake{
			{"HS256", "select a signing key in the provider's settings in Authentik: without one it signs with the client secret"},
			{"Redirect URI Error", "add Gatehouse's callback URL to the provider's redirect URIs, matched strictly"},
		},
	}
}

func zitadel() Preset {
	const roles = "urn:zitadel:iam:org:project:roles"
	return Preset{
		Name:              "zitadel",
		SelectAccount:     true,
		DiscoveryExample:  "https://acme.zitadel.cloud/.well-known/openid-configuration",
		DiscoveryPath:     `/?`,
		FormHint:          "use the instance's domain, nothing behind it",
		Scopes:            []string{"profile", "email", offlineAccess, roles}, // unverified: the roles scope
		RefreshScope:      offlineAccess,
		GroupsClaim:       roles, // an object whose names are the roles
		GroupsHint:        "switch on User roles inside ID token, or assert roles on authentication in the project",
		UserInfo:          true,           // unverified: roles may stand there only
		AssertionAudience: AudienceIssuer, // unverified
		Mistakes: []Mistake{
			{"redirect_uri", "add Gatehouse's callback URL to the application's redirect URIs, byte for byte; development mode is not needed"},
			{"HS256", "Zitadel signs with RS256 by default: check the signing algorithm of the instance"},
		},
	}
}
