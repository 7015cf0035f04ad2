import { redirect } from 'next/navigation';
import { signInAddress } from '@/lib/auth';

export async function GET() {
  redirect(await signInAddress());
}
