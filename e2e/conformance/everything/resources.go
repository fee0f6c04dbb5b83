package main

import (
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func addResources(s *mcp.Server) {
	contents := func(c mcp.ResourceContents) mcp.ResourceHandler {
		return func(context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{&c}}, nil
		}
	}
	for name, c := range map[string]mcp.ResourceContents{
		"static-text":   {URI: "test://static-text", MIMEType: "text/plain", Text: "This is the content of the static text resource."},
		"static-binary": {URI: "test://static-binary", MIMEType: "image/png", Blob: onePixel()},
		"watched":       {URI: "test://watched-resource", MIMEType: "text/plain", Text: "It can be subscribed to."},
	} {
		s.AddResource(&mcp.Resource{Name: name, Description: "The resource " + name + ".", URI: c.URI, MIMEType: c.MIMEType}, contents(c))
	}
	s.AddResourceTemplate(&mcp.ResourceTemplate{Name: "template", Description: "A resource for each id.", URITemplate: "test://template/{id}/data", MIMEType: "application/json"},
		func(_ context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			id, ok := strings.CutSuffix(strings.TrimPrefix(r.Params.URI, "test://template/"), "/data")
			if !ok || id == "" || strings.Contains(id, "/") {
				return nil, mcp.ResourceNotFoundError(r.Params.URI)
			}
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, MIMEType: "application/json",
				Text: fmt.Sprintf(`{"id":%q,"templateTest":true,"data":"Data for ID: %s"}`, id, id)}}}, nil
		})
}
