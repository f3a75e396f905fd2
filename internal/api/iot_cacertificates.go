package api

import (
	"context"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func (r *iotRows) caCertificates() []Operation {
	return []Operation{
		op("GetRegistrationCode", "iot:GetRegistrationCode", nil, r.getRegistrationCode),
		op("DeleteRegistrationCode", "iot:DeleteRegistrationCode", nil, r.deleteRegistrationCode),
		op("RegisterCACertificate", "iot:RegisterCACertificate", func(*Call, *iotmodel.RegisterCACertificateInput) string { return "*" }, r.registerCACertificate),
		op("DescribeCACertificate", "iot:DescribeCACertificate", func(c *Call, in *iotmodel.DescribeCACertificateInput) string {
			return caResource(c, in.CertificateId)
		}, r.describeCACertificate),
		op("UpdateCACertificate", "iot:UpdateCACertificate", func(c *Call, in *iotmodel.UpdateCACertificateInput) string {
			return caResource(c, in.CertificateId)
		}, r.updateCACertificate),
		op("DeleteCACertificate", "iot:DeleteCACertificate", func(c *Call, in *iotmodel.DeleteCACertificateInput) string {
			return caResource(c, in.CertificateId)
		}, r.deleteCACertificate),
		op("ListCACertificates", "iot:ListCACertificates", nil, r.listCACertificates),
		op("ListCertificatesByCA", "iot:ListCertificatesByCA", nil, r.listCertificatesByCA),
	}
}

// caResource is certificateResource for CA certificates.
func caResource(c *Call, id *string) string {
	if canonical, err := pki.ParseID(deref(id)); err == nil {
		return iotResource(c, "cacert", new(string(canonical)))
	}
	return iotResource(c, "cacert", id)
}

func (r *iotRows) getRegistrationCode(ctx context.Context, _ *Call, _ *iotmodel.GetRegistrationCodeInput) (*iotmodel.GetRegistrationCodeOutput, error) {
	code, err := r.certs.RegistrationCode(ctx)
	if err != nil {
		return nil, err
	}
	return &iotmodel.GetRegistrationCodeOutput{RegistrationCode: &code}, nil
}

func (r *iotRows) deleteRegistrationCode(ctx context.Context, _ *Call, _ *iotmodel.DeleteRegistrationCodeInput) (*iotmodel.DeleteRegistrationCodeOutput, error) {
	return nil, r.certs.DeleteRegistrationCode(ctx)
}

// noTemplates refuses what only provisioning templates could do.
func noTemplates(c *iotmodel.RegistrationConfig) error {
	if c == nil || c.TemplateBody == nil && c.TemplateName == nil && c.RoleArn == nil {
		return nil
	}
	return iot.Errorf(iot.KindNotBuilt, "registration-config", "registrationConfig needs provisioning templates, which are not built yet. "+
		"Automatic registration without a template (just-in-time registration) is there.")
}

func (r *iotRows) registerCACertificate(ctx context.Context, _ *Call, in *iotmodel.RegisterCACertificateInput) (*iotmodel.RegisterCACertificateOutput, error) {
	if err := noTemplates(in.RegistrationConfig); err != nil {
		return nil, err
	}
	if err := registry.CheckTags(tagsOf(in.Tags)); err != nil {
		return nil, err
	}
	tags := make([]pki.Tag, len(in.Tags))
	for i, t := range in.Tags {
		tags[i] = pki.Tag{Key: deref(t.Key), Value: deref(t.Value)}
	}
	ca, err := r.certs.RegisterCA(ctx, &pki.CARegistration{
		Certificate: deref(in.CaCertificate), Verification: deref(in.VerificationCertificate), Mode: pki.Mode(deref(in.CertificateMode)),
		Active: deref(in.SetAsActive), AutoRegister: deref(in.AllowAutoRegistration), Tags: tags,
	})
	if err != nil {
		return nil, err
	}
	return &iotmodel.RegisterCACertificateOutput{CertificateArn: new(string(r.certs.CAARN(ca.ID))), CertificateId: new(string(ca.ID))}, nil
}

func (r *iotRows) describeCACertificate(ctx context.Context, _ *Call, in *iotmodel.DescribeCACertificateInput) (*iotmodel.DescribeCACertificateOutput, error) {
	k, err := r.certs.DescribeCA(ctx, deref(in.CertificateId))
	if err != nil {
		return nil, err
	}
	auto := "DISABLE"
	if k.AutoRegistration {
		auto = "ENABLE"
	}
	return &iotmodel.DescribeCACertificateOutput{CertificateDescription: &iotmodel.CACertificateDescription{
		CertificateArn: new(string(r.certs.CAARN(k.ID))), CertificateId: new(string(k.ID)), Status: new(string(k.Status)),
		CertificatePem: new(pki.EncodePEM(k.DER)), OwnedBy: new(string(k.Owner)), CreationDate: &k.CreatedAt, LastModifiedDate: &k.UpdatedAt,
		AutoRegistrationStatus: &auto, CustomerVersion: new(int32(k.CustomerVersion)), GenerationId: &k.GenerationID, //nolint:gosec // two thousand million changes of status
		Validity: &iotmodel.CertificateValidity{NotBefore: &k.NotBefore, NotAfter: &k.NotAfter}, CertificateMode: new(string(k.Mode)),
	}}, nil
}

func (r *iotRows) updateCACertificate(ctx context.Context, _ *Call, in *iotmodel.UpdateCACertificateInput) (*iotmodel.UpdateCACertificateOutput, error) {
	if err := noTemplates(in.RegistrationConfig); err != nil {
		return nil, err
	}
	u := pki.CAUpdate{}
	if in.NewStatus != nil {
		u.Status = new(pki.Status(*in.NewStatus))
	}
	switch auto := deref(in.NewAutoRegistrationStatus); {
	case auto == "ENABLE" && deref(in.RemoveAutoRegistration):
		return nil, iot.Errorf(iot.KindInvalid, "ca-certificate", "Automatic registration cannot be enabled and removed at once")
	case auto == "ENABLE" || auto == "DISABLE":
		u.AutoRegister = new(auto == "ENABLE")
	case in.NewAutoRegistrationStatus != nil:
		return nil, iot.Errorf(iot.KindInvalid, "ca-certificate", "newAutoRegistrationStatus must be ENABLE or DISABLE")
	case deref(in.RemoveAutoRegistration):
		u.AutoRegister = new(bool)
	}
	return nil, r.certs.UpdateCA(ctx, deref(in.CertificateId), u)
}

func (r *iotRows) deleteCACertificate(ctx context.Context, _ *Call, in *iotmodel.DeleteCACertificateInput) (*iotmodel.DeleteCACertificateOutput, error) {
	return nil, r.certs.DeleteCA(ctx, deref(in.CertificateId))
}

func (r *iotRows) listCACertificates(ctx context.Context, _ *Call, in *iotmodel.ListCACertificatesInput) (*iotmodel.ListCACertificatesOutput, error) {
	p := pageOf(in.PageSize, in.Marker)
	if in.TemplateName != nil { // no CA certificate has one
		return &iotmodel.ListCACertificatesOutput{Certificates: []iotmodel.CACertificate{}}, nil
	}
	list, next, err := r.certs.ListCAs(ctx, deref(in.AscendingOrder), p.Limit, p.Token)
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListCACertificatesOutput{Certificates: make([]iotmodel.CACertificate, len(list)), NextMarker: optional(next)}
	for i := range list {
		k := &list[i]
		out.Certificates[i] = iotmodel.CACertificate{
			CertificateArn: new(string(r.certs.CAARN(k.ID))), CertificateId: new(string(k.ID)), Status: new(string(k.Status)), CreationDate: &k.CreatedAt,
		}
	}
	return out, nil
}

func (r *iotRows) listCertificatesByCA(ctx context.Context, _ *Call, in *iotmodel.ListCertificatesByCAInput) (*iotmodel.ListCertificatesByCAOutput, error) {
	p := pageOf(in.PageSize, in.Marker)
	list, next, err := r.certs.ListByCA(ctx, deref(in.CaCertificateId), deref(in.AscendingOrder), p.Limit, p.Token)
	if err != nil {
		return nil, err
	}
	return &iotmodel.ListCertificatesByCAOutput{Certificates: r.summaries(list), NextMarker: optional(next)}, nil
}
