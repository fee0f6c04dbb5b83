package doctor

// Code says in one stable word what is wrong. docs/reasons.md lists them.
type Code string

// The way to a server.
const (
	NameUnknown           Code = "name_unknown"
	NameServerSilent      Code = "name_server_silent"
	AddressFenced         Code = "address_fenced"
	NothingListens        Code = "nothing_listens"
	NoAnswerInTime        Code = "no_answer_in_time"
	NoRoute               Code = "no_route"
	ConnectionBroken      Code = "connection_broken"
	TLSMissing            Code = "tls_missing"
	TLSTooOld             Code = "tls_too_old"
	TLSRefused            Code = "tls_refused"
	CertificateWrongName  Code = "certificate_wrong_name"
	CertificateSelfSigned Code = "certificate_self_signed"
	CertificateChain      Code = "certificate_chain"
	CertificateExpired    Code = "certificate_expired"
	CertificateNotYet     Code = "certificate_not_yet_valid"
	CertificateExpires    Code = "certificate_expires_soon"
	CertificateInvalid    Code = "certificate_invalid"
	ClockSkew             Code = "clock_skew"
)

// Gatehouse itself, and what stands in front of it.
const (
	NotRunning            Code = "not_running"
	PortTaken             Code = "port_taken"
	PartNotReady          Code = "part_not_ready"
	NotGatehouse          Code = "not_gatehouse"
	EndpointUnknown       Code = "endpoint_unknown"
	PathNotForwarded      Code = "path_not_forwarded"
	PathRewritten         Code = "path_rewritten"
	HostRewritten         Code = "host_rewritten"
	ProxyUnknown          Code = "proxy_unknown"
	ProxyCannotReach      Code = "proxy_cannot_reach"
	ProxySignsIn          Code = "proxy_signs_in"
	ForbiddenInFront      Code = "forbidden_in_front"
	RateLimited           Code = "rate_limited"
	Redirected            Code = "redirected"
	RedirectScheme        Code = "redirect_scheme"
	RedirectSlash         Code = "redirect_slash"
	RedirectHost          Code = "redirect_host"
	ChallengeElsewhere    Code = "challenge_elsewhere"
	ChallengeDropped      Code = "challenge_dropped"
	AuthorizationDropped  Code = "authorization_dropped"
	AuthorizationReplaced Code = "authorization_replaced"
	TokenCheckedInFront   Code = "token_checked_in_front"
	PostNotForwarded      Code = "post_not_forwarded"
	MethodFiltered        Code = "method_filtered"
	PreflightBlocked      Code = "preflight_blocked"
	HeaderLimit           Code = "header_limit"
	BodyLimit             Code = "body_limit"
	EventsBuffered        Code = "events_buffered"
	EventsChanged         Code = "events_changed"
	EventsCompressed      Code = "events_compressed"
	ForwardedForMissing   Code = "forwarded_for_missing"
	CertificateForgeable  Code = "certificate_forgeable"
	CertificateHeader     Code = "certificate_header"
	DoctorUnanswered      Code = "doctor_unanswered"
	ConfigNotLoaded       Code = "config_not_loaded"
)

// Metadata.
const (
	MetadataMissing    Code = "metadata_missing"
	MetadataRedirected Code = "metadata_redirected"
	MetadataGuarded    Code = "metadata_guarded"
	MetadataMediaType  Code = "metadata_media_type"
	MetadataUnreadable Code = "metadata_unreadable"
	MetadataDiffers    Code = "metadata_differs"
	ResourceDiffers    Code = "resource_differs"
	IssuerAbsent       Code = "issuer_absent"
	IssuerDiffers      Code = "issuer_differs"
	ScopesAbsent       Code = "scopes_absent"
	EndpointElsewhere  Code = "endpoint_elsewhere"
	PKCEAbsent         Code = "pkce_absent"
	KeysUnusable       Code = "keys_unusable"
	ClientUnknown      Code = "client_unknown"
	ClientRefused      Code = "client_refused"
	RedirectURIRefused Code = "redirect_uri_refused"
)

// Other issuers, for clients that sign in there and for Gatehouse's own application. The codes of package vendor belong
// to them too.
const (
	EndpointAbsent          Code = "endpoint_absent"
	EndpointInsecure        Code = "endpoint_insecure"
	AudienceUnchecked       Code = "audience_unchecked"
	RedirectURIUnregistered Code = "redirect_uri_unregistered"
	ProviderClientUnknown   Code = "provider_client_unknown"
	SignInRefused           Code = "sign_in_refused"
	ProviderSettings        Code = "provider_settings"
	RefreshScopeAbsent      Code = "refresh_scope_absent"
	RefreshNotAllowed       Code = "refresh_not_allowed"
	ClientSecretRefused     Code = "client_secret_refused"
	CredentialUnclear       Code = "credential_unclear"
	TokenEndpointSilent     Code = "token_endpoint_silent"
	IntrospectionAbsent     Code = "introspection_absent"
	IntrospectionRefused    Code = "introspection_refused"
	IntrospectionLies       Code = "introspection_lies"
)

// Targets.
const (
	TargetSettings        Code = "target_settings"
	TargetDown            Code = "target_down"
	TargetRefuses         Code = "target_refuses"
	TargetWantsCredential Code = "target_wants_credential"
	TargetCredential      Code = "target_credential_refused"
	TargetPath            Code = "target_path"
	TargetOldTransport    Code = "target_old_transport"
	TargetRedirects       Code = "target_redirects"
	TargetNotMCP          Code = "target_not_mcp"
	TargetTooLarge        Code = "target_too_large"
	CommandNotFound       Code = "command_not_found"
	CommandNotRunnable    Code = "command_not_runnable"
	CommandEnds           Code = "command_ends"
	CommandSilent         Code = "command_silent"
	CommandNotIsolated    Code = "command_not_isolated"
	CommandNotMCP         Code = "command_not_mcp"
)

// This machine.
const (
	ConfigFault        Code = "config_fault"
	ConfigWarning      Code = "config_warning"
	MasterKey          Code = "master_key"
	StateNotWritable   Code = "state_not_writable"
	StateReadable      Code = "state_readable"
	StateOwner         Code = "state_owner"
	DiskSpace          Code = "disk_space"
	DatabaseAway       Code = "database_away"
	DatabaseCredential Code = "database_credential"
	DatabaseAbsent     Code = "database_absent"
	DatabaseKey        Code = "database_key"
	DatabaseNewer      Code = "database_newer"
	DatabaseBroken     Code = "database_broken"
	CopyAway           Code = "copy_away"
)
