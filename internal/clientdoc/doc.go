// Package clientdoc owns client ID metadata documents (draft-ietf-oauth-client-id-metadata-document): which URLs can name
// one, how a document and the key set that it points at are fetched, what may stand in them, and how long they are kept.
//
// It does not own who may cause a fetch (the caller is asked before each one), which addresses may be reached (the HTTP
// client has that fence), nor what a client may do.
package clientdoc
