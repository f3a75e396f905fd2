package awsimport

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

const kindCertificate = "certificate"

// certificates registers certificates and attaches them to their things. Their
// private keys are where they were: in the devices.
func (m *importer) certificates(ctx context.Context) error {
	cas, err := m.activeCAs(ctx)
	if err != nil {
		return err
	}
	pages := iot.NewListCertificatesPaginator(m.src.iot, &iot.ListCertificatesInput{PageSize: aws.Int32(250), AscendingOrder: true})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if err := each(ctx, m, page.Certificates, func(ctx context.Context, c iottypes.Certificate) []Item {
			return m.certificate(ctx, aws.ToString(c.CertificateId), cas)
		}); err != nil {
			return err
		}
	}
	return nil
}

// activeCAs are the CA certificates that are active at the target: PEM by id.
func (m *importer) activeCAs(ctx context.Context) (map[string]string, error) {
	cas := map[string]string{}
	var marker *string
	for {
		page, err := m.dst.iot.ListCACertificates(ctx, &iot.ListCACertificatesInput{PageSize: aws.Int32(250), Marker: marker})
		if notBuilt(err) {
			return cas, nil
		}
		if err != nil {
			return nil, err
		}
		for _, c := range page.Certificates {
			if c.Status != iottypes.CACertificateStatusActive {
				continue
			}
			d, err := m.dst.iot.DescribeCACertificate(ctx, &iot.DescribeCACertificateInput{CertificateId: c.CertificateId})
			if err != nil {
				return nil, err
			}
			cas[aws.ToString(c.CertificateId)] = aws.ToString(d.CertificateDescription.CertificatePem)
		}
		if marker = page.NextMarker; marker == nil {
			return cas, nil
		}
	}
}

func (m *importer) certificate(ctx context.Context, id string, cas map[string]string) []Item {
	i := Item{Kind: kindCertificate, Name: id}
	want, err := m.src.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	if err != nil {
		i.fail("the source", err)
		return []Item{i}
	}
	d := want.CertificateDescription
	status, why := statusFor(d.Status)
	have, err := m.dst.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
	switch {
	case err == nil && have.CertificateDescription.Status != status:
		i.differ("it is %s, and %s at the source", have.CertificateDescription.Status, d.Status)
	case err == nil:
		i.Outcome = Unchanged
	case !notFound(err):
		i.fail("the target", err)
		return []Item{i}
	default:
		if !m.registerAnew(ctx, &i, d, status, cas) {
			return []Item{i}
		}
		i.Why = why
	}
	return append([]Item{i}, m.thingsOf(ctx, id, i.Outcome == Created)...)
}

// registerAnew registers a certificate that is not at the target, unless it was
// and somebody deleted it.
func (m *importer) registerAnew(ctx context.Context, i *Item, d *iottypes.CertificateDescription, status iottypes.CertificateStatus, cas map[string]string) bool {
	was, err := m.deleted(ctx, aws.ToString(d.CertificatePem))
	switch {
	case err != nil:
		i.fail("the target", err)
		return false
	case was:
		i.skip("it was deleted at the target; register it by hand if it is to come back")
		return false
	}
	return m.create(i, func() error { return m.register(ctx, d, status, cas) })
}

// statusFor is the status that a certificate is registered with.
func statusFor(s iottypes.CertificateStatus) (status iottypes.CertificateStatus, why string) {
	switch s {
	case iottypes.CertificateStatusActive, iottypes.CertificateStatusInactive, iottypes.CertificateStatusRevoked:
		return s, ""
	case iottypes.CertificateStatusPendingTransfer, iottypes.CertificateStatusPendingActivation, iottypes.CertificateStatusRegisterInactive:
	}
	return iottypes.CertificateStatusInactive, "as INACTIVE, since it is " + string(s) + " at the source"
}

func (m *importer) register(ctx context.Context, d *iottypes.CertificateDescription, status iottypes.CertificateStatus, cas map[string]string) error {
	if ca := cas[aws.ToString(d.CaCertificateId)]; ca != "" {
		_, err := m.dst.iot.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: d.CertificatePem, CaCertificatePem: &ca, Status: status})
		return err
	}
	_, err := m.dst.iot.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: d.CertificatePem, Status: status})
	return err
}

// thingsOf attaches a certificate to its things. A fresh one has none yet.
func (m *importer) thingsOf(ctx context.Context, id string, fresh bool) []Item {
	resource := "cert/" + id
	failed := Item{Kind: kindAttachment, Name: resource + " to its things"}
	want, err := principalThings(ctx, m.src.iot, m.src.arn(resource))
	if err != nil {
		failed.fail("the source", err)
		return []Item{failed}
	}
	have := map[string]iottypes.ThingPrincipalType{}
	if !fresh {
		if have, err = principalThings(ctx, m.dst.iot, m.dst.arn(resource)); err != nil {
			failed.fail("the target", err)
			return []Item{failed}
		}
	}
	var items []Item
	for thing, typ := range want {
		i := Item{Kind: kindAttachment, Name: resource + " to thing " + thing}
		is, attached := have[thing]
		switch {
		case attached && is != typ:
			i.differ("it is attached as %s, and as %s at the source", is, typ)
		case attached:
			i.Outcome = Unchanged
		case m.absent(kindThing, thing):
			i.skip("the thing is not at the target")
		default:
			in := &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: aws.String(m.dst.arn(resource))}
			if typ == iottypes.ThingPrincipalTypeExclusiveThing {
				in.ThingPrincipalType = typ
			}
			m.create(&i, func() error {
				_, err := m.dst.iot.AttachThingPrincipal(ctx, in)
				return err
			})
		}
		items = append(items, i)
	}
	return items
}

func principalThings(ctx context.Context, c *iot.Client, principal string) (map[string]iottypes.ThingPrincipalType, error) {
	things := map[string]iottypes.ThingPrincipalType{}
	pages := iot.NewListPrincipalThingsV2Paginator(c, &iot.ListPrincipalThingsV2Input{Principal: &principal, MaxResults: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range page.PrincipalThingObjects {
			typ := t.ThingPrincipalType
			if typ == "" {
				typ = iottypes.ThingPrincipalTypeNonExclusiveThing
			}
			things[aws.ToString(t.ThingName)] = typ
		}
	}
	return things, nil
}
