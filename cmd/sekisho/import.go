package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/awsimport"
	"github.com/sekisho-iot/sekisho/internal/client"
)

func importCommands() []cli.Command {
	return []cli.Command{
		{Name: "aws", Summary: "copy a fleet from an AWS account", Run: importAWS},
	}
}

const aboutImport = `Copies a fleet from an AWS account to the server that the environment names: IoT policies
with their versions, role aliases with their roles and what those may do, thing types, static thing
groups and their members, things with their attributes, certificates, and what is attached to what.
Devices keep their keys and certificates. The source is the profile alone, as the AWS SDK reads it out
of the config and credentials files, its endpoint_url included; of the environment it takes nothing but
AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE. It is only read.

Account numbers and regions in ARNs are made the target's. What is at the target already is never
changed: where it differs, that is reported. So a run can be made again at any time, and goes on where
one was broken off. A certificate that was deleted at the target does not come back by it.

Not copied: tags, private keys (AWS has none), CA certificates (register them first, and their
certificates are registered with them), dynamic thing groups, shadows, jobs, rules.

It exits 0 where all of the source is at the target then, else 1.`

// importLimits are what one side can take.
const (
	sourceRate     = 10 // calls a second: AWS allows ten of most that are made here
	sourceAttempts = 10
	targetTimeout  = time.Minute
)

func importAWS(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "aws", "", aboutImport)
	profile := fs.String("profile", "", "`name` of the profile that is the source")
	region := fs.String("region", "", "`name` of the source's region, where it is not the profile's")
	dryRun := fs.Bool("dry-run", false, "print what would be done, and do nothing")
	rate := fs.Int("rate", sourceRate, "at most that `number` of calls a second to the source")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	if *profile == "" {
		return cli.Usagef("--profile is needed: the source")
	}
	if *rate < 1 {
		return cli.Usagef("--rate must be 1 or more")
	}
	target, err := importTarget(t)
	if err != nil {
		return err
	}
	own, err := connect(t)
	if err != nil {
		return err
	}
	source, err := importSource(ctx, t, *profile, *region, *rate)
	if err != nil {
		return fmt.Errorf("profile %s: %w", *profile, err)
	}
	report, err := awsimport.Run(ctx, awsimport.Config{Source: source, Target: target, DryRun: *dryRun, Out: t.Stdout, Deleted: func(ctx context.Context, pem string) (bool, error) {
		var out struct {
			Deleted bool `json:"deleted"`
		}
		err := own.Call(ctx, "sekisho", http.MethodPost, "/_sekisho/certificates/deleted", nil, map[string]string{"certificatePem": pem}, &out)
		return out.Deleted, err
	}})
	if report != nil {
		fmt.Fprintln(t.Stdout)
		err = errors.Join(err, report.Write(t.Stdout, *dryRun))
	}
	if err != nil {
		return err
	}
	if !report.Complete() {
		fmt.Fprintf(t.Stderr, "%s aws: not all of the source is at the target; see the lines above that begin with differs, skip or fail\n", t.Program)
		return cli.ErrSaid
	}
	return nil
}

// importTarget is the server that the environment names, as for every command.
func importTarget(t *cli.Terminal) (aws.Config, error) {
	c, err := client.FromEnviron(t.Getenv)
	if err != nil {
		return aws.Config{}, err
	}
	transport, err := client.Transport(c.CABundle)
	if err != nil {
		return aws.Config{}, err
	}
	return aws.Config{
		Region: c.Region, BaseEndpoint: &c.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
		HTTPClient:  &http.Client{Transport: transport, Timeout: targetTimeout},
	}, nil
}

// importSource is what the profile says, and nothing else: the variables of the
// environment that the SDK would read are taken away first.
func importSource(ctx context.Context, t *cli.Terminal, profile, region string, rate int) (aws.Config, error) {
	configFile, credentialsFile := t.Getenv("AWS_CONFIG_FILE"), t.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	if configFile == "" {
		configFile = config.DefaultSharedConfigFilename()
	}
	if credentialsFile == "" {
		credentialsFile = config.DefaultSharedCredentialsFilename()
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			if err := os.Unsetenv(name); err != nil {
				return aws.Config{}, err
			}
		}
	}
	said, err := config.LoadSharedConfigProfile(ctx, profile, func(o *config.LoadSharedConfigOptions) {
		o.ConfigFiles, o.CredentialsFiles = []string{configFile}, []string{credentialsFile}
	})
	if err != nil {
		return aws.Config{}, err
	}
	if !hasCredentials(&said) {
		return aws.Config{}, errors.New("it has no credentials")
	}
	c, err := config.LoadDefaultConfig(ctx,
		config.WithSharedConfigProfile(profile),
		config.WithSharedConfigFiles([]string{configFile}), config.WithSharedCredentialsFiles([]string{credentialsFile}),
		config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) { assumeAt(o, said.BaseEndpoint) }),
		config.WithRetryMode(aws.RetryModeAdaptive), config.WithRetryMaxAttempts(sourceAttempts))
	if err != nil {
		return aws.Config{}, err
	}
	if region != "" {
		c.Region = region
	}
	if c.Region == "" {
		return aws.Config{}, errors.New("it has no region: give --region")
	}
	if c.HTTPClient == nil {
		c.HTTPClient = awshttp.NewBuildableClient()
	}
	c.HTTPClient = &paced{client: c.HTTPClient, every: time.Second / time.Duration(rate)}
	return c, nil
}

// assumeAt has a profile's role assumed where its endpoint_url says, of which the
// SDK takes no notice there, and asks the terminal for a code where it needs one.
func assumeAt(o *stscreds.AssumeRoleOptions, endpoint string) {
	o.TokenProvider = stscreds.StdinTokenProvider
	c, ok := o.Client.(*sts.Client)
	if !ok || endpoint == "" || c.Options().BaseEndpoint != nil {
		return
	}
	o.Client = sts.New(c.Options(), func(o *sts.Options) { o.BaseEndpoint = &endpoint })
}

// hasCredentials keeps a profile without any from ending up with the machine's own.
func hasCredentials(c *config.SharedConfig) bool {
	return c.Credentials.HasKeys() || c.CredentialProcess != "" || c.RoleARN != "" || c.WebIdentityTokenFile != "" ||
		c.SSOSessionName != "" || c.SSOAccountID != "" || c.LoginSession != ""
}

// paced spreads calls evenly.
type paced struct {
	client aws.HTTPClient
	every  time.Duration

	mu   sync.Mutex // guards next
	next time.Time
}

// Do implements aws.HTTPClient.
func (p *paced) Do(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	now := time.Now()
	at := p.next
	if at.Before(now) {
		at = now
	}
	p.next = at.Add(p.every)
	p.mu.Unlock()
	if wait := at.Sub(now); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return p.client.Do(r)
}
