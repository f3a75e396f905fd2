package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/client"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// The files that enroll leaves.
const (
	certificateFile = "device.pem.crt"
	privateKeyFile  = "private.pem.key"
	rootCAFile      = "root-ca.pem"
	deviceFile      = "device.json"

	uploadsPolicy = "sekisho-enroll-uploads"
)

// deviceConfig is device.json: what a device must know to use its identity.
// File names are relative to the folder that it stands in.
type deviceConfig struct {
	Thing          string          `json:"thing"`
	ThingARN       string          `json:"thingArn"`
	CertificateARN string          `json:"certificateArn"`
	CertificateID  string          `json:"certificateId"`
	RoleAlias      string          `json:"roleAlias,omitempty"`
	Bucket         string          `json:"bucket,omitempty"`
	Region         string          `json:"region"`
	Endpoints      deviceEndpoints `json:"endpoints"`
	Certificate    string          `json:"certificate"`
	PrivateKey     string          `json:"privateKey"`
	RootCA         string          `json:"rootCa"`
}

// deviceEndpoints are host:port, but for s3, which is a URL.
type deviceEndpoints struct {
	Credentials string `json:"credentials,omitempty"`
	MQTT        string `json:"mqtt,omitempty"`
	S3          string `json:"s3,omitempty"`
}

// serverInfo is the answer of GET /_sekisho/info.
type serverInfo struct {
	Region    string          `json:"region"`
	Endpoints deviceEndpoints `json:"endpoints"`
}

type enrolment struct {
	c                 *client.Client
	thing             string
	policy, roleAlias string
	uploads           string // the bucket
	out               string
	config            deviceConfig
	undo              []func(context.Context) error // newest last
}

func enroll(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "enroll", "THING", "Registers a thing, makes it a certificate and leaves in a folder what its device needs:\n"+
		"device.pem.crt, private.pem.key, root-ca.pem and device.json. Does in one step what eight\nAWS CLI calls do; when one fails, those before it are undone.")
	e := &enrolment{}
	fs.StringVar(&e.policy, "policy", "", "`name` of an IoT policy to attach to the certificate; without it, and with\n        --role-alias, one is used that allows exactly that alias")
	fs.StringVar(&e.roleAlias, "role-alias", "", "`name` of the role alias that the device will ask credentials of")
	fs.StringVar(&e.uploads, "uploads", "", "`bucket` that device upload is to send files to: noted in device.json, with a policy that\n        allows MQTT as the thing and messages to file/upload and file/upload/failed")
	fs.StringVar(&e.out, "out", "", "`folder` to write to; must not hold a device yet")
	if err := fs.ParseWords(args, 1); err != nil {
		return err
	}
	e.thing = fs.Arg(0)
	if !iot.ValidThingName(e.thing) {
		return cli.Usagef("%q is not a thing name: 1 to 128 letters, digits, and : _ -", e.thing)
	}
	if e.out == "" {
		return cli.Usagef("--out is needed: the folder to write to")
	}
	if err := e.checkFolder(); err != nil {
		return err
	}
	var err error
	if e.c, err = connect(t); err != nil {
		return err
	}
	if err := e.run(ctx); err != nil {
		return errors.Join(err, e.rollBack(context.WithoutCancel(ctx)))
	}
	fmt.Fprintf(t.Stdout, "%s is enrolled with certificate %s…\n", e.thing, e.config.CertificateID[:12])
	for _, f := range []string{certificateFile, privateKeyFile, rootCAFile, deviceFile} {
		fmt.Fprintf(t.Stdout, "  %s\n", filepath.Join(e.out, f))
	}
	if len(e.policies()) == 0 {
		fmt.Fprintln(t.Stdout, "No policy is attached, so the device may do nothing yet: give --policy or --role-alias.")
	}
	return nil
}

func (e *enrolment) checkFolder() error {
	for _, f := range []string{certificateFile, privateKeyFile, rootCAFile, deviceFile} {
		_, err := os.Lstat(filepath.Join(e.out, f))
		if err == nil {
			return fmt.Errorf("%s holds a device already (%s is there): give another --out", e.out, f)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.MkdirAll(e.out, 0o700)
}

// rollBack undoes what was done, newest first.
func (e *enrolment) rollBack(ctx context.Context) error {
	var err error
	for _, undo := range slices.Backward(e.undo) {
		err = errors.Join(err, undo(ctx))
	}
	if err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	return nil
}

func (e *enrolment) call(ctx context.Context, method, path string, header map[string]string, in, out any) error {
	return e.c.Call(ctx, "iot", method, path, header, in, out)
}

func (e *enrolment) run(ctx context.Context) error {
	var info serverInfo
	if err := e.c.Call(ctx, "sekisho", http.MethodGet, "/_sekisho/info", nil, nil, &info); err != nil {
		return err
	}
	if err := e.preparePolicy(ctx); err != nil {
		return err
	}
	if err := e.prepareUploads(ctx); err != nil {
		return err
	}
	if err := e.createThing(ctx); err != nil {
		return fmt.Errorf("create thing %s: %w", e.thing, err)
	}
	cert, key, err := e.createCertificate(ctx)
	if err != nil {
		return err
	}
	rootCA, err := e.c.Get(ctx, "/_sekisho/root-ca.pem")
	if err != nil {
		return fmt.Errorf("read the root CA: %w", err)
	}
	e.config.Thing, e.config.RoleAlias, e.config.Bucket = e.thing, e.roleAlias, e.uploads
	e.config.Region, e.config.Endpoints = info.Region, info.Endpoints
	e.config.Certificate, e.config.PrivateKey, e.config.RootCA = certificateFile, privateKeyFile, rootCAFile
	conf, err := json.MarshalIndent(e.config, "", "  ") //nolint:gosec // PrivateKey is the name of a file
	if err != nil {
		return err
	}
	if err := e.write(privateKeyFile, []byte(key), 0o600); err != nil {
		return err
	}
	return errors.Join(
		e.write(certificateFile, []byte(cert), 0o644),
		e.write(rootCAFile, rootCA, 0o644),
		e.write(deviceFile, append(conf, '\n'), 0o644),
	)
}

// write makes one file of the folder, which is taken away again when a later step fails.
func (e *enrolment) write(name string, b []byte, perm os.FileMode) error {
	path := filepath.Join(e.out, name)
	// Made anew, so that no link or file that somebody put there gets the key.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm) //nolint:gosec // the folder that the operator named
	if err != nil {
		return err
	}
	e.undo = append(e.undo, func(context.Context) error { return os.Remove(path) })
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// preparePolicy makes sure that the policy and the alias exist before anything is made.
func (e *enrolment) preparePolicy(ctx context.Context) error {
	var alias struct {
		RoleAliasDescription struct {
			RoleAliasARN string `json:"roleAliasArn"`
		} `json:"roleAliasDescription"`
	}
	if e.roleAlias != "" {
		if err := e.call(ctx, http.MethodGet, "/role-aliases/"+url.PathEscape(e.roleAlias), nil, nil, &alias); err != nil {
			return fmt.Errorf("role alias %s: %w", e.roleAlias, err)
		}
	}
	switch {
	case e.policy != "":
		if err := e.call(ctx, http.MethodGet, "/policies/"+url.PathEscape(e.policy), nil, nil, nil); err != nil {
			return fmt.Errorf("policy %s: %w", e.policy, err)
		}
		return nil
	case e.roleAlias == "":
		return nil
	}
	name := "sekisho-enroll-" + e.roleAlias
	if len(name) > 128 {
		return fmt.Errorf("the role alias's name is too long to make a policy for it: give --policy")
	}
	doc, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": map[string]any{
			"Effect": "Allow", "Action": "iot:AssumeRoleWithCertificate", "Resource": alias.RoleAliasDescription.RoleAliasARN,
			"Condition": map[string]any{"Bool": map[string]string{"iot:Connection.Thing.IsAttached": "true"}},
		},
	})
	if err != nil {
		return err
	}
	e.policy = name
	return e.ensurePolicy(ctx, name, string(doc))
}

// prepareUploads makes sure of the policy for what `device upload` does on MQTT.
func (e *enrolment) prepareUploads(ctx context.Context) error {
	if e.uploads == "" {
		return nil
	}
	doc, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []map[string]any{
			{"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
			{"Effect": "Allow", "Action": "iot:Publish", "Resource": []string{"arn:aws:iot:*:*:topic/file/upload", "arn:aws:iot:*:*:topic/file/upload/failed"}},
		},
	})
	if err != nil {
		return err
	}
	return e.ensurePolicy(ctx, uploadsPolicy, string(doc))
}

// ensurePolicy makes a policy unless it is there; it must be the very one.
func (e *enrolment) ensurePolicy(ctx context.Context, name, doc string) error {
	err := e.call(ctx, http.MethodPost, "/policies/"+url.PathEscape(name), nil, map[string]string{"policyDocument": doc}, nil)
	if err == nil {
		return nil
	}
	if ce, ok := errors.AsType[*client.Error](err); !ok || ce.Status != http.StatusConflict {
		return fmt.Errorf("create policy %s: %w", name, err)
	}
	var have struct {
		PolicyDocument string `json:"policyDocument"`
	}
	if err := e.call(ctx, http.MethodGet, "/policies/"+url.PathEscape(name), nil, nil, &have); err != nil {
		return fmt.Errorf("policy %s: %w", name, err)
	}
	if have.PolicyDocument != doc {
		return fmt.Errorf("policy %s exists and says something else than enroll would: look at it, and give it by --policy if it is right", name)
	}
	return nil
}

func (e *enrolment) createThing(ctx context.Context) error {
	path := "/things/" + url.PathEscape(e.thing)
	var have struct {
		ThingARN string `json:"thingArn"`
	}
	if err := e.call(ctx, http.MethodGet, path, nil, nil, &have); err == nil {
		e.config.ThingARN = have.ThingARN // one more certificate for a thing that exists
		return nil
	} else if ce, ok := errors.AsType[*client.Error](err); !ok || ce.Status != http.StatusNotFound {
		return err
	}
	if err := e.call(ctx, http.MethodPost, path, nil, struct{}{}, &have); err != nil {
		return err
	}
	e.config.ThingARN = have.ThingARN
	e.undo = append(e.undo, func(ctx context.Context) error { return e.call(ctx, http.MethodDelete, path, nil, nil, nil) })
	return nil
}

// policies are those to attach.
func (e *enrolment) policies() (names []string) {
	if e.policy != "" {
		names = append(names, e.policy)
	}
	if e.uploads != "" {
		names = append(names, uploadsPolicy)
	}
	return names
}

// createCertificate makes the certificate and ties it to thing and policy.
func (e *enrolment) createCertificate(ctx context.Context) (cert, key string, err error) {
	var made struct {
		CertificateARN string `json:"certificateArn"`
		CertificateID  string `json:"certificateId"`
		CertificatePEM string `json:"certificatePem"`
		KeyPair        struct {
			PrivateKey string
		} `json:"keyPair"`
	}
	if err := e.call(ctx, http.MethodPost, "/keys-and-certificate?setAsActive=true", nil, nil, &made); err != nil {
		return "", "", fmt.Errorf("create certificate: %w", err)
	}
	e.config.CertificateARN, e.config.CertificateID = made.CertificateARN, made.CertificateID
	path := "/certificates/" + made.CertificateID
	e.undo = append(e.undo, func(ctx context.Context) error {
		return errors.Join(
			e.call(ctx, http.MethodPut, path+"?newStatus=INACTIVE", nil, nil, nil),
			e.call(ctx, http.MethodDelete, path+"?forceDelete=true", nil, nil, nil))
	})
	principals := "/things/" + url.PathEscape(e.thing) + "/principals"
	header := map[string]string{"x-amzn-principal": made.CertificateARN}
	if err := e.call(ctx, http.MethodPut, principals, header, nil, nil); err != nil {
		return "", "", fmt.Errorf("attach the certificate to thing %s: %w", e.thing, err)
	}
	e.undo = append(e.undo, func(ctx context.Context) error {
		return e.call(ctx, http.MethodDelete, principals, header, nil, nil)
	})
	for _, name := range e.policies() {
		target := map[string]string{"target": made.CertificateARN}
		if err := e.call(ctx, http.MethodPut, "/target-policies/"+url.PathEscape(name), nil, target, nil); err != nil {
			return "", "", fmt.Errorf("attach policy %s: %w", name, err)
		}
	}
	if !strings.Contains(made.KeyPair.PrivateKey, "PRIVATE KEY") {
		return "", "", errors.New("the server sent no private key")
	}
	return made.CertificatePEM, made.KeyPair.PrivateKey, nil
}
