"""Images, video and audio for training: media, processors, collation."""
