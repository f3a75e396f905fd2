package api

import (
	"context"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// providerOp is a row about one OIDC provider.
func providerOp[In, Out any](r *iamRows, name string, arn func(*In) *string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	o := iamOp(name, func(_ *Call, in *In) string { return deref(arn(in)) }, handle)
	return withKeys(o, func(c *Call, in *In) policy.Keys { return r.aboutProvider(c, arn(in), iamKeys{}) })
}

func (r *iamRows) aboutProvider(c *Call, arn *string, k iamKeys) *iamKeys {
	p, err := r.svc.OIDCProvider(c.HTTP.Context(), deref(arn))
	c.couldNotRead(err)
	for _, t := range p.Tags {
		k.resourceTags = append(k.resourceTags, [2]string{t.Key, t.Value})
	}
	return &k
}

// providerOwner names a provider for tags. An ARN that is missing must not become a role.
func providerOwner(arn *string) iam.TagOwner {
	if deref(arn) == "" {
		return iam.TagOwner{ProviderARN: "-"}
	}
	return iam.TagOwner{ProviderARN: *arn}
}

func (r *iamRows) oidcRows() []Operation {
	create := iamOp("CreateOpenIDConnectProvider", func(_ *Call, in *m.CreateOpenIDConnectProviderInput) string { return r.svc.ProviderARN(deref(in.Url)) },
		func(ctx context.Context, _ *Call, in *m.CreateOpenIDConnectProviderInput) (*m.CreateOpenIDConnectProviderOutput, error) {
			p, err := r.svc.CreateOIDCProvider(ctx, deref(in.Url), in.ClientIDList, in.ThumbprintList, iamTagsIn(in.Tags))
			if err != nil {
				return nil, err
			}
			return &m.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: &p.ARN, Tags: iamTagsOut(p.Tags)}, nil
		})
	return append([]Operation{
		withKeys(create, func(_ *Call, in *m.CreateOpenIDConnectProviderInput) policy.Keys { return tagged(in.Tags, iamKeys{}) }),
		providerOp(r, "GetOpenIDConnectProvider", func(in *m.GetOpenIDConnectProviderInput) *string { return in.OpenIDConnectProviderArn },
			func(ctx context.Context, _ *Call, in *m.GetOpenIDConnectProviderInput) (*m.GetOpenIDConnectProviderOutput, error) {
				p, err := r.svc.OIDCProvider(ctx, deref(in.OpenIDConnectProviderArn))
				if err != nil {
					return nil, err
				}
				return &m.GetOpenIDConnectProviderOutput{
					Url: &p.URL, ClientIDList: namesOut(p.ClientIDs), ThumbprintList: namesOut(p.Thumbprints), CreateDate: &p.CreatedAt, Tags: iamTagList(p.Tags),
				}, nil
			}),
		iamOp("ListOpenIDConnectProviders", nil,
			func(ctx context.Context, _ *Call, _ *m.ListOpenIDConnectProvidersInput) (*m.ListOpenIDConnectProvidersOutput, error) {
				list, err := r.svc.OIDCProviders(ctx)
				out := &m.ListOpenIDConnectProvidersOutput{OpenIDConnectProviderList: make([]m.OpenIDConnectProviderListEntry, len(list))}
				for i := range list {
					out.OpenIDConnectProviderList[i].Arn = &list[i].ARN
				}
				return out, err
			}),
		providerOp(r, "DeleteOpenIDConnectProvider", func(in *m.DeleteOpenIDConnectProviderInput) *string { return in.OpenIDConnectProviderArn },
			func(ctx context.Context, _ *Call, in *m.DeleteOpenIDConnectProviderInput) (*m.DeleteOpenIDConnectProviderOutput, error) {
				return nil, r.svc.DeleteOIDCProvider(ctx, deref(in.OpenIDConnectProviderArn))
			}),
		providerOp(r, "AddClientIDToOpenIDConnectProvider", func(in *m.AddClientIDToOpenIDConnectProviderInput) *string { return in.OpenIDConnectProviderArn },
			func(ctx context.Context, _ *Call, in *m.AddClientIDToOpenIDConnectProviderInput) (*m.AddClientIDToOpenIDConnectProviderOutput, error) {
				return nil, r.svc.AddClientID(ctx, deref(in.OpenIDConnectProviderArn), deref(in.ClientID))
			}),
		providerOp(r, "RemoveClientIDFromOpenIDConnectProvider", func(in *m.RemoveClientIDFromOpenIDConnectProviderInput) *string { return in.OpenIDConnectProviderArn },
			func(ctx context.Context, _ *Call, in *m.RemoveClientIDFromOpenIDConnectProviderInput) (*m.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
				return nil, r.svc.RemoveClientID(ctx, deref(in.OpenIDConnectProviderArn), deref(in.ClientID))
			}),
		providerOp(r, "UpdateOpenIDConnectProviderThumbprint", func(in *m.UpdateOpenIDConnectProviderThumbprintInput) *string { return in.OpenIDConnectProviderArn },
			func(ctx context.Context, _ *Call, in *m.UpdateOpenIDConnectProviderThumbprintInput) (*m.UpdateOpenIDConnectProviderThumbprintOutput, error) {
				return nil, r.svc.SetThumbprints(ctx, deref(in.OpenIDConnectProviderArn), in.ThumbprintList)
			}),
	}, r.oidcTagRows()...)
}

func (r *iamRows) oidcTagRows() []Operation {
	return []Operation{
		withKeys(providerOp(r, "TagOpenIDConnectProvider", func(in *m.TagOpenIDConnectProviderInput) *string { return in.OpenIDConnectProviderArn },
			func(ctx context.Context, _ *Call, in *m.TagOpenIDConnectProviderInput) (*m.TagOpenIDConnectProviderOutput, error) {
				return nil, r.svc.Tag(ctx, providerOwner(in.OpenIDConnectProviderArn), iamTagsIn(in.Tags))
			}), func(c *Call, in *m.TagOpenIDConnectProviderInput) policy.Keys {
			return tagged(in.Tags, *r.aboutProvider(c, in.OpenIDConnectProviderArn, iamKeys{}))
		}),
		withKeys(providerOp(r, "UntagOpenIDConnectProvider", func(in *m.UntagOpenIDConnectProviderInput) *string { return in.OpenIDConnectProviderArn },
			func(ctx context.Context, _ *Call, in *m.UntagOpenIDConnectProviderInput) (*m.UntagOpenIDConnectProviderOutput, error) {
				return nil, r.svc.Untag(ctx, providerOwner(in.OpenIDConnectProviderArn), in.TagKeys)
			}), func(c *Call, in *m.UntagOpenIDConnectProviderInput) policy.Keys {
			return r.aboutProvider(c, in.OpenIDConnectProviderArn, iamKeys{tagKeys: in.TagKeys})
		}),
		providerOp(r, "ListOpenIDConnectProviderTags", func(in *m.ListOpenIDConnectProviderTagsInput) *string { return in.OpenIDConnectProviderArn },
			func(ctx context.Context, _ *Call, in *m.ListOpenIDConnectProviderTagsInput) (*m.ListOpenIDConnectProviderTagsOutput, error) {
				tags, marker, err := r.svc.Tags(ctx, providerOwner(in.OpenIDConnectProviderArn), iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListOpenIDConnectProviderTagsOutput{Tags: iamTagList(tags), IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}
}
