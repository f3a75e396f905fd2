package api

import (
	"context"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
)

func (r *iotRows) certificates() []Operation {
	return []Operation{
		op("CreateKeysAndCertificate", "iot:CreateKeysAndCertificate", nil, r.createKeysAndCertificate),
		op("CreateCertificateFromCsr", "iot:CreateCertificateFromCsr", nil, r.createCertificateFromCSR),
		op("DescribeCertificate", "iot:DescribeCertificate", func(c *Call, in *iotmodel.DescribeCertificateInput) string {
			return certificateResource(c, in.CertificateId)
		}, r.describeCertificate),
		op("UpdateCertificate", "iot:UpdateCertificate", func(c *Call, in *iotmodel.UpdateCertificateInput) string {
			return certificateResource(c, in.CertificateId)
		}, r.updateCertificate),
		op("DeleteCertificate", "iot:DeleteCertificate", func(c *Call, in *iotmodel.DeleteCertificateInput) string {
			return certificateResource(c, in.CertificateId)
		}, r.deleteCertificate),
		op("ListCertificates", "iot:ListCertificates", nil, r.listCertificates),
		op("RegisterCertificate", "iot:RegisterCertificate", nil, r.registerCertificate),
		op("RegisterCertificateWithoutCA", "iot:RegisterCertificateWithoutCA", nil, r.registerCertificateWithoutCA),
	}
}

// certificateResource is the ARN of the certificate that the service will take
// the id for: 0xAB and ab are the same one, to a policy too.
func certificateResource(c *Call, id *string) string {
	if canonical, err := pki.ParseID(deref(id)); err == nil {
		return iotResource(c, "cert", new(string(canonical)))
	}
	return iotResource(c, "cert", id)
}

func (r *iotRows) createKeysAndCertificate(ctx context.Context, _ *Call, in *iotmodel.CreateKeysAndCertificateInput) (*iotmodel.CreateKeysAndCertificateOutput, error) {
	i, err := r.certs.CreateKeysAndCertificate(ctx, deref(in.SetAsActive))
	if err != nil {
		return nil, err
	}
	return &iotmodel.CreateKeysAndCertificateOutput{
		CertificateArn: new(string(r.certs.ARN(i.ID))), CertificateId: new(string(i.ID)), CertificatePem: &i.PEM,
		KeyPair: &iotmodel.KeyPair{PublicKey: &i.PublicKey, PrivateKey: &i.PrivateKey},
	}, nil
}

func (r *iotRows) createCertificateFromCSR(ctx context.Context, _ *Call, in *iotmodel.CreateCertificateFromCsrInput) (*iotmodel.CreateCertificateFromCsrOutput, error) {
	i, err := r.certs.CreateCertificateFromCSR(ctx, deref(in.CertificateSigningRequest), deref(in.SetAsActive))
	if err != nil {
		return nil, err
	}
	return &iotmodel.CreateCertificateFromCsrOutput{
		CertificateArn: new(string(r.certs.ARN(i.ID))), CertificateId: new(string(i.ID)), CertificatePem: &i.PEM,
	}, nil
}

func (r *iotRows) describeCertificate(ctx context.Context, _ *Call, in *iotmodel.DescribeCertificateInput) (*iotmodel.DescribeCertificateOutput, error) {
	k, err := r.certs.Describe(ctx, deref(in.CertificateId))
	if err != nil {
		return nil, err
	}
	return &iotmodel.DescribeCertificateOutput{CertificateDescription: &iotmodel.CertificateDescription{
		CertificateArn: new(string(r.certs.ARN(k.ID))), CertificateId: new(string(k.ID)), CaCertificateId: optional(string(k.CAID)),
		Status: new(string(k.Status)), CertificatePem: new(pki.EncodePEM(k.DER)), OwnedBy: new(string(k.Owner)),
		CreationDate: &k.CreatedAt, LastModifiedDate: &k.UpdatedAt, CustomerVersion: new(int32(k.CustomerVersion)), //nolint:gosec // two thousand million changes of status
		TransferData: &iotmodel.TransferData{}, GenerationId: &k.GenerationID, CertificateMode: new(string(k.Mode)),
		Validity: &iotmodel.CertificateValidity{NotBefore: &k.NotBefore, NotAfter: &k.NotAfter},
	}}, nil
}

func (r *iotRows) updateCertificate(ctx context.Context, _ *Call, in *iotmodel.UpdateCertificateInput) (*iotmodel.UpdateCertificateOutput, error) {
	return nil, r.certs.SetStatus(ctx, deref(in.CertificateId), pki.Status(deref(in.NewStatus)))
}

func (r *iotRows) deleteCertificate(ctx context.Context, _ *Call, in *iotmodel.DeleteCertificateInput) (*iotmodel.DeleteCertificateOutput, error) {
	return nil, r.certs.Delete(ctx, deref(in.CertificateId), deref(in.ForceDelete))
}

func (r *iotRows) listCertificates(ctx context.Context, _ *Call, in *iotmodel.ListCertificatesInput) (*iotmodel.ListCertificatesOutput, error) {
	p := pageOf(in.PageSize, in.Marker)
	list, next, err := r.certs.List(ctx, deref(in.AscendingOrder), p.Limit, p.Token)
	if err != nil {
		return nil, err
	}
	return &iotmodel.ListCertificatesOutput{Certificates: r.summaries(list), NextMarker: optional(next)}, nil
}

func (r *iotRows) summaries(list []pki.Record) []iotmodel.Certificate {
	out := make([]iotmodel.Certificate, len(list))
	for i := range list {
		k := &list[i]
		out[i] = iotmodel.Certificate{
			CertificateArn: new(string(r.certs.ARN(k.ID))), CertificateId: new(string(k.ID)), Status: new(string(k.Status)),
			CertificateMode: new(string(k.Mode)), CreationDate: &k.CreatedAt,
		}
	}
	return out
}

func (r *iotRows) registerCertificate(ctx context.Context, _ *Call, in *iotmodel.RegisterCertificateInput) (*iotmodel.RegisterCertificateOutput, error) {
	g := &pki.Registration{Certificate: deref(in.CertificatePem), CA: deref(in.CaCertificatePem), Status: pki.Status(deref(in.Status))}
	if deref(in.SetAsActive) { // deprecated: status says it
		if g.Status != "" && g.Status != pki.Active {
			return nil, iot.Errorf(iot.KindInvalid, "certificate", "setAsActive contradicts status %s", g.Status)
		}
		g.Status = pki.Active
	}
	id, err := r.certs.Register(ctx, g)
	if err != nil {
		return nil, err
	}
	return &iotmodel.RegisterCertificateOutput{CertificateArn: new(string(r.certs.ARN(id))), CertificateId: new(string(id))}, nil
}

func (r *iotRows) registerCertificateWithoutCA(ctx context.Context, _ *Call, in *iotmodel.RegisterCertificateWithoutCAInput,
) (*iotmodel.RegisterCertificateWithoutCAOutput, error) {
	id, err := r.certs.RegisterWithoutCA(ctx, &pki.Registration{Certificate: deref(in.CertificatePem), Status: pki.Status(deref(in.Status))})
	if err != nil {
		return nil, err
	}
	return &iotmodel.RegisterCertificateWithoutCAOutput{CertificateArn: new(string(r.certs.ARN(id))), CertificateId: new(string(id))}, nil
}
