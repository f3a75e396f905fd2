package iot

// ChangeKind says what a Change is about.
type ChangeKind uint8

// The kinds of changes that caches drop entries for.
const (
	ChangeThing              ChangeKind = iota + 1 // ID: thing name
	ChangeCertificate                              // ID: certificate id
	ChangePrincipal                                // ID: principal ARN; its things or IoT policies changed
	ChangeIoTPolicy                                // ID: IoT policy name
	ChangeRoleAlias                                // ID: alias name
	ChangeRole                                     // ID: role name; settings, trust, inline policies or attachments
	ChangeIAMPolicy                                // ID: managed policy ARN
	ChangeUser                                     // ID: user name; policies, attachments or existence
	ChangeAccessKey                                // ID: access key id
	ChangeBucket                                   // ID: bucket name; existence, configuration or policy
	ChangeUpload                                   // ID: thing name; the ledger of uploads has a new record
	ChangeCA                                       // ID: certificate id of a registered CA
	ChangeThingGroup                               // ID: thing group name; its policies, or its existence
	ChangeEventConfiguration                       // ID: ""; which events of the registry are published
	ChangeAll                                      // everything may have changed
)

// Change says that what ID names is no longer as it was. A store announces it
// after the commit and before the call that made it returns.
type Change struct {
	Kind ChangeKind
	ID   string
}
